// What `segctl produce` does to the times in an event's JSON.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "app/event_times.h"

namespace segmentd {
namespace {

using ::testing::HasSubstr;

std::string Shifted(std::string_view json, Duration shift) {
  std::string out;
  const absl::Status status = ShiftEventTimes(json, shift, &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

TEST(ShiftEventTimes, MovesTheFieldsOfSegmentsFormats) {
  EXPECT_EQ(Shifted(R"({"type":"track","timestamp":"2026-11-22T09:30:00.000Z","userId":"u"})",
                    Duration::Minutes(1)),
            R"({"type":"track","timestamp":"2026-11-22T09:31:00.000Z","userId":"u"})");
  EXPECT_EQ(
      Shifted(
          R"({"originalTimestamp":"2026-11-22T09:30:00Z","sentAt":"2026-11-22T09:30:01+00:00","receivedAt":1795339802000})",
          Duration::Hours(24)),
      R"({"originalTimestamp":"2026-11-23T09:30:00.000Z","sentAt":"2026-11-23T09:30:01.000Z","receivedAt":1795426202000})");
}

TEST(ShiftEventTimes, MovesSecondsOfCleverTapsFormat) {
  EXPECT_EQ(Shifted(R"({"ts":1795339800})", Duration::Seconds(60)), R"({"ts":1795339860})");
  EXPECT_EQ(Shifted(R"({"ts":1795339800})", Duration::Millis(1250)), R"({"ts":1795339801.250})");
  EXPECT_EQ(Shifted(R"({"ts":1795339800.5})", Duration::Millis(500)), R"({"ts":1795339801})");
  EXPECT_EQ(Shifted(R"({"ts":"$D_1795339800"})", Duration::Seconds(1)),
            R"({"ts":"$D_1795339801"})");
}

TEST(ShiftEventTimes, LeavesAllOtherBytes) {
  EXPECT_EQ(
      Shifted("{ \"timestamp\" : 1000 ,\t\"properties\":{\"timestamp\":\"2026-01-01\",\"ts\":5},"
              "\"n\":1.0e2,\"s\":\"\\u00e4 \\\"x\\\"\" } ",
              Duration::Seconds(1)),
      "{ \"timestamp\" : 2000 ,\t\"properties\":{\"timestamp\":\"2026-01-01\",\"ts\":5},"
      "\"n\":1.0e2,\"s\":\"\\u00e4 \\\"x\\\"\" } ");
}

TEST(ShiftEventTimes, MovesBackwardsAndAcrossYears) {
  EXPECT_EQ(Shifted(R"({"timestamp":"2026-01-01"})", -Duration::Millis(1)),
            R"({"timestamp":"2025-12-31T23:59:59.999Z"})");
}

TEST(ShiftEventTimes, LeavesNullAndWhatHasNoTime) {
  EXPECT_EQ(Shifted(R"({"timestamp":null,"event":"x"})", Duration::Seconds(1)),
            R"({"timestamp":null,"event":"x"})");
  EXPECT_EQ(Shifted("{}", Duration::Seconds(1)), "{}");
}

TEST(ShiftEventTimes, FindsEscapedAndRepeatedKeys) {
  EXPECT_EQ(Shifted(R"({"t\u0073":1,"ts":2})", Duration::Seconds(1)), R"({"t\u0073":2,"ts":3})");
}

TEST(ShiftEventTimes, RefusesWhatItCannotMove) {
  std::string out;
  for (const char* json : {"", "[]", "{", "{\"timestamp\":", R"({"timestamp":"soon"})",
                           R"({"timestamp":true})", R"({"timestamp":{}})", R"({"ts":1e300})"}) {
    const absl::Status status = ShiftEventTimes(json, Duration::Seconds(1), &out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
  }
  EXPECT_THAT(
      std::string(ShiftEventTimes(R"({"sentAt":"soon"})", Duration::Seconds(1), &out).message()),
      HasSubstr("sentAt"));
}

}  // namespace
}  // namespace segmentd
