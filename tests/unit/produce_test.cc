// What `segctl produce` does to the times in an event's JSON, and when it refuses to write it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "app/event_producer.h"
#include "app/event_times.h"
#include "stream/decoder.h"

namespace segmentd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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
          R"({"type":"track","originalTimestamp":"2026-11-22T09:30:00Z","sentAt":"2026-11-22T09:30:01+00:00","receivedAt":1795339802000})",
          Duration::Hours(24)),
      R"({"type":"track","originalTimestamp":"2026-11-23T09:30:00.000Z","sentAt":"2026-11-23T09:30:01.000Z","receivedAt":1795426202000})");
}

TEST(ShiftEventTimes, MovesSecondsOfCleverTapsFormat) {
  for (const std::string type : {R"({"type":"event",)", R"({"type":"profile",)"}) {
    EXPECT_EQ(Shifted(type + R"("ts":1795339800})", Duration::Seconds(60)),
              type + R"("ts":1795339860})");
    EXPECT_EQ(Shifted(type + R"("ts":1795339800})", Duration::Millis(1250)),
              type + R"("ts":1795339801.250})");
    EXPECT_EQ(Shifted(type + R"("ts":1795339800.5})", Duration::Millis(500)),
              type + R"("ts":1795339801})");
    EXPECT_EQ(Shifted(type + R"("ts":"$D_1795339800"})", Duration::Seconds(1)),
              type + R"("ts":"$D_1795339801"})");
  }
}

// What the decoder makes of a body.
Time TimeOf(std::string_view json) {
  Decoder decoder{Settings()};
  Event event;
  std::string_view user;
  const DecodeResult result = decoder.decode_line(json, Offset(0), Fields(), &event, &user);
  EXPECT_TRUE(result.ok()) << result.detail;
  return event.time;
}

TEST(ShiftEventTimes, MovesTheTimeOfTheMessagesJson) {
  const Duration shift = Duration::Hours(24);
  const std::string event = R"({"user_id":"pb","name":"E",)";
  for (const auto& [before, after] :
       {std::pair(R"("time_ms":"1431857120000"})", R"("time_ms":"1431943520000"})"),
        std::pair(R"("time_ms":1431857120000})", R"("time_ms":1431943520000})"),
        std::pair(R"("timeMs":"1431857120000"})", R"("timeMs":"1431943520000"})"),
        std::pair(R"("timeMs" : 1.43185712e12 })", R"("timeMs" : 1431943520000 })"),
        std::pair(R"("time\u005fms":"-1"})", R"("time\u005fms":"86399999"})")}) {
    const std::string shifted = Shifted(event + before, shift);
    EXPECT_EQ(shifted, event + after);
    EXPECT_EQ(TimeOf(shifted), TimeOf(event + before) + shift);
  }
}

TEST(ShiftEventTimes, LeavesTheFieldsOfOtherFormats) {
  for (const char* json : {R"({"type":"track","ts":"soon","time_ms":1,"timeMs":"later"})",
                           R"({"type":"event","timestamp":"soon","sentAt":true,"time_ms":1})",
                           R"({"user_id":"u","timestamp":"soon","ts":1})",
                           R"({"type":"event","ts":1,"type":"page"})"}) {
    EXPECT_EQ(Shifted(json, Duration::Seconds(1)), json);
  }
  EXPECT_EQ(Shifted(R"({"timestamp":1000,"ts":1,"t\u0079pe":"track"})", Duration::Seconds(1)),
            R"({"timestamp":2000,"ts":1,"t\u0079pe":"track"})");
}

TEST(ShiftEventTimes, LeavesAllOtherBytes) {
  EXPECT_EQ(Shifted("{ \"type\": \"page\", \"timestamp\" : 1000 "
                    ",\t\"properties\":{\"timestamp\":\"2026-01-01\",\"ts\":5},"
                    "\"n\":1.0e2,\"s\":\"\\u00e4 \\\"x\\\"\" } ",
                    Duration::Seconds(1)),
            "{ \"type\": \"page\", \"timestamp\" : 2000 "
            ",\t\"properties\":{\"timestamp\":\"2026-01-01\",\"ts\":5},"
            "\"n\":1.0e2,\"s\":\"\\u00e4 \\\"x\\\"\" } ");
}

// The decoder passes over one, too; files from Windows begin so.
TEST(ShiftEventTimes, LeavesAByteOrderMark) {
  EXPECT_EQ(Shifted("\xEF\xBB\xBF{\"type\":\"event\",\"ts\":1}", Duration::Seconds(1)),
            "\xEF\xBB\xBF{\"type\":\"event\",\"ts\":2}");
}

TEST(ShiftEventTimes, MovesBackwardsAndAcrossYears) {
  EXPECT_EQ(Shifted(R"({"type":"track","timestamp":"2026-01-01"})", -Duration::Millis(1)),
            R"({"type":"track","timestamp":"2025-12-31T23:59:59.999Z"})");
}

TEST(ShiftEventTimes, LeavesNullAndWhatHasNoTime) {
  for (const char* json : {R"({"type":"track","timestamp":null})", R"({"type":"event","ts":null})",
                           R"({"user_id":"u","time_ms":null})", R"({"type":"track"})", "{}"}) {
    EXPECT_EQ(Shifted(json, Duration::Seconds(1)), json);
  }
}

TEST(ShiftEventTimes, FindsEscapedAndRepeatedKeys) {
  EXPECT_EQ(Shifted(R"({"type":"event","t\u0073":1,"ts":2})", Duration::Seconds(1)),
            R"({"type":"event","t\u0073":2,"ts":3})");
}

TEST(ShiftEventTimes, RefusesWhatItCannotMove) {
  std::string out;
  for (const char* json :
       {"", "[]", "{", R"({"type":"track","timestamp":)", R"({"type":"track","timestamp":"soon"})",
        R"({"type":"track","timestamp":true})", R"({"type":"track","timestamp":{}})",
        R"({"type":"event","ts":1e300})", R"({"time_ms":"2026-01-01"})", R"({"timeMs":""})"}) {
    const absl::Status status = ShiftEventTimes(json, Duration::Seconds(1), &out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
  }
  EXPECT_THAT(
      std::string(ShiftEventTimes(R"({"type":"page","sentAt":"soon"})", Duration::Seconds(1), &out)
                      .message()),
      HasSubstr("sentAt"));
}

// In days.
std::string Refusal(const TopicRetention& retention, int oldest, int newest, bool keep_times) {
  const absl::Status status = CheckRetention(retention, "events", Duration::Days(oldest),
                                             Duration::Days(newest), keep_times);
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  }
  return std::string(status.message());
}

TEST(CheckRetention, TakesWhatTheTopicKeeps) {
  const TopicRetention week = {.kept = Duration::Days(7)};
  EXPECT_EQ(Refusal({}, 9000, 0, true), "");
  EXPECT_EQ(Refusal(week, 7, 0, true), "");
  EXPECT_EQ(Refusal(week, 107, 100, false), "");
  EXPECT_EQ(Refusal({.kept = Duration::Days(7), .append_time = true}, 100, 0, true), "");
}

TEST(CheckRetention, NamesEverySettingThatStandsInTheWay) {
  const std::string both =
      Refusal({.kept = Duration::Days(7), .refused_before = Duration::Days(1)}, 30, 0, false);
  EXPECT_THAT(both, HasSubstr("would be 30d old"));
  EXPECT_THAT(both, HasSubstr("deletes records older than 7d (retention.ms)"));
  EXPECT_THAT(both, HasSubstr("refuses records older than 1d (message.timestamp.before.max.ms)"));
  EXPECT_THAT(both, HasSubstr("raise both settings"));
  const std::string one =
      Refusal({.kept = Duration::Days(90), .refused_before = Duration::Days(1)}, 30, 0, false);
  EXPECT_THAT(one, Not(HasSubstr("retention.ms")));
  EXPECT_THAT(one, HasSubstr("raise that setting"));
}

TEST(CheckRetention, AdvisesOnlyWhatWouldBeTaken) {
  const TopicRetention week = {.kept = Duration::Days(7)};
  // The file itself is longer than the topic keeps.
  const std::string shifted = Refusal(week, 130, 100, false);
  EXPECT_THAT(shifted, HasSubstr("or play the events as of now, with --speed 3600"));
  EXPECT_THAT(shifted, Not(HasSubstr("--keep-times")));
  const std::string kept = Refusal(week, 130, 100, true);
  EXPECT_THAT(kept, HasSubstr("with --speed 3600 instead of --keep-times"));
  // A short one, long ago.
  const std::string short_file = Refusal(week, 103, 100, true);
  EXPECT_THAT(short_file, HasSubstr("or leave out --keep-times, and the newest event is now"));
  EXPECT_THAT(short_file, Not(HasSubstr("--speed")));
}

TEST(CheckRetention, TellsOfTheOldestAndTheNewest) {
  TopicRetention retention = {.kept = Duration::Days(7), .refused_after = Duration::Hours(1)};
  const std::string both = Refusal(retention, 30, -3, true);
  EXPECT_THAT(both, HasSubstr("the oldest event would be 30d old, but topic events deletes"));
  EXPECT_THAT(both, HasSubstr("(retention.ms), and the newest event would be 3d ahead of the "
                              "clock, but topic events refuses"));
  EXPECT_THAT(both, HasSubstr("(message.timestamp.after.max.ms); raise both settings, or play"));
  retention.refused_before = Duration::Days(1);
  EXPECT_THAT(Refusal(retention, 30, -3, true), HasSubstr("raise all three settings, or play"));
}

TEST(CheckRetention, LooksAheadToo) {
  const TopicRetention hour = {.refused_after = Duration::Hours(1)};
  const std::string ahead = Refusal(hour, 5, -3, true);
  EXPECT_THAT(ahead, HasSubstr("the newest event would be 3d ahead"));
  EXPECT_THAT(ahead, HasSubstr("refuses records more than 1h ahead "
                               "(message.timestamp.after.max.ms); raise that setting"));
  EXPECT_THAT(ahead, HasSubstr("or leave out --keep-times, and the newest event is now"));
  EXPECT_EQ(Refusal(hour, 5, -3, false), "");
  EXPECT_EQ(Refusal(hour, 5, 0, true), "");
  EXPECT_EQ(Refusal({.refused_after = Duration::Days(3)}, 5, -3, true), "");
  EXPECT_EQ(Refusal({.append_time = true, .refused_after = Duration::Hours(1)}, 5, -3, true), "");
}

}  // namespace
}  // namespace segmentd
