#include "segment/time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace segmentd {
namespace {

using testing::HasSubstr;

constexpr int64_t kFirst = -62'135'596'800'000;
constexpr int64_t kLast = 253'402'300'799'999;

// In memory of just its size, so that a sanitizer sees a look beyond it.
bool Parse(std::string_view text, Time* time) {
  const auto exact = std::make_unique<char[]>(text.size());
  text.copy(exact.get(), text.size());
  return ParseTimestamp({exact.get(), text.size()}, time);
}

TEST(Time, SumsSaturate) {
  EXPECT_EQ(Time::Max() + Duration::Days(1), Time::Max());
  EXPECT_EQ(Time::Min() - Duration::Days(1), Time::Min());
  EXPECT_EQ(Time::Max() - Duration::Days(1), Time::Max());
  EXPECT_EQ(Time::Min() + Duration::Days(1), Time::Min());
  EXPECT_EQ(Time::Millis(Time::Max().millis() - 1) + Duration::Millis(2), Time::Max());
  EXPECT_EQ(Time::Millis(Time::Min().millis() + 1) - Duration::Millis(2), Time::Min());
  EXPECT_EQ(Time::Millis(5) + Duration::Millis(-7), Time::Millis(-2));
}

TEST(Duration, ReadsTheGrammar) {
  const std::pair<std::string_view, Duration> cases[] = {
      {"500ms", Duration::Millis(500)},
      {"10m", Duration::Minutes(10)},
      {"1h30m", Duration::Minutes(90)},
      {"36h", Duration::Hours(36)},
      {"30d", Duration::Days(30)},
      {"2w", Duration::Days(14)},
      {"0s", Duration()},
      {"007s", Duration::Seconds(7)},
      {"1w2d3h4m5s6ms", Duration::Millis(788'645'006)},
      {"3650d", Duration::Days(3650)},
      {"315360000000ms", Duration::Days(3650)},
  };
  for (const auto& [text, expected] : cases) {
    const auto parsed = ParseDuration(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, expected) << text;
  }
}

TEST(Duration, RefusesWhatIsNoDuration) {
  const std::pair<std::string_view, const char*> cases[] = {
      {"", "it is empty"},
      {"-", "it is negative"},
      {"-5d", "it is negative"},
      {"10", "a unit is missing"},
      {"1h30", "a unit is missing"},
      {"h", "a whole number must stand before each unit"},
      {"1.5h", "the units are"},
      {"10 m", "the units are"},
      {" 10m", "a whole number must stand"},
      {"10m ", "the units are"},
      {"10M", "the units are"},
      {"10min", "the units are"},
      {"1y", "the units are"},
      {"5m5m", "once each"},
      {"30m1h", "the largest first"},
      {"5ms1s", "the largest first"},
      {"3650d1ms", "longer than 3650d"},
      {"3651d", "longer than 3650d"},
      {"999999999999999d", "longer than 3650d"},
      {"9999999999999999ms", "longer than 3650d"},
      {"99999999999999999999999999s", "longer than 3650d"},
      {"P1D", "a whole number must stand"},
      {"+5d", "a whole number must stand"},
  };
  for (const auto& [text, problem] : cases) {
    const auto parsed = ParseDuration(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(problem)) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("write for example")) << text;
  }
}

TEST(Duration, IsNegativeOnlyWhereAnOffsetIsMeant) {
  EXPECT_EQ(ParseDuration("-5d", true).value(), Duration::Days(-5));
  EXPECT_EQ(ParseDuration("-1h30m", true).value(), Duration::Minutes(-90));
  EXPECT_FALSE(ParseDuration("--5d", true).ok());
  EXPECT_FALSE(ParseDuration("-", true).ok());
  EXPECT_FALSE(ParseDuration("1h-30m", true).ok());
  EXPECT_FALSE(ParseDuration("-3651d", true).ok());
}

TEST(Duration, IsWrittenShort) {
  EXPECT_EQ(FormatDuration(Duration()), "0s");
  EXPECT_EQ(FormatDuration(Duration::Minutes(90)), "1h30m");
  EXPECT_EQ(FormatDuration(Duration::Days(540)), "540d");
  EXPECT_EQ(FormatDuration(Duration::Hours(36)), "1d12h");
  EXPECT_EQ(FormatDuration(Duration::Millis(1001)), "1s1ms");
  EXPECT_EQ(FormatDuration(Duration::Days(-5)), "-5d");
  EXPECT_EQ(FormatDuration(Duration::Millis(std::numeric_limits<int64_t>::min())),
            "-106751991167d7h12m55s808ms");
}

RC_GTEST_PROP(Duration, IsReadAsWritten, ()) {
  const int64_t most = Duration::Days(3650).millis();
  const auto duration = Duration::Millis(*rc::gen::inRange<int64_t>(-most, most + 1));
  const auto parsed = ParseDuration(FormatDuration(duration), true);
  RC_ASSERT(parsed.ok());
  RC_ASSERT(*parsed == duration);
}

TEST(Timestamp, ReadsWhatEventsCarry) {
  const std::pair<std::string_view, int64_t> cases[] = {
      {"1970-01-01", 0},
      {"1970-01-01T00:00", 0},
      {"1970-01-01T00:00:00Z", 0},
      {"2026-04-01", 1'775'001'600'000},
      {"2026-04-01T09:00", 1'775'034'000'000},
      {"2026-04-01 09:00", 1'775'034'000'000},
      {"2026-04-01t09:00z", 1'775'034'000'000},
      {"2026-04-01T09:00Z", 1'775'034'000'000},
      {"2026-04-01T09:00:07", 1'775'034'007'000},
      {"2026-04-01T09:00:07.5", 1'775'034'007'500},
      {"2026-04-01T09:00:07,25Z", 1'775'034'007'250},
      {"2026-04-01T09:00:07.123Z", 1'775'034'007'123},
      {"2026-04-01T09:00:07.1239999", 1'775'034'007'123},
      {"2026-04-01T09:00:07.123456789012345678901234567890Z", 1'775'034'007'123},
      {"2026-04-01T09:00+05:30", 1'775'014'200'000},
      {"2026-04-01T09:00:00.000+0530", 1'775'014'200'000},
      {"2026-04-01T09:00:00-08", 1'775'062'800'000},
      {"2026-04-01T09:00-00:00", 1'775'034'000'000},
      {"2000-02-29", 951'782'400'000},
      {"2024-02-29T23:59:59.999Z", 1'709'251'199'999},
      {"1969-12-31T23:59:59.999Z", -1},
      {"1969-12-31T23:59:59.9999Z", -1},
      {"0001-01-01", kFirst},
      {"9999-12-31T23:59:59.999Z", kLast},
      {"9999-12-31T23:59:59.999+14:00", kLast - int64_t{14} * 3'600'000},
      {"$D_0", 0},
      {"$D_1620000000", 1'620'000'000'000},
      {"$D_-1", -1000},
  };
  for (const auto& [text, expected] : cases) {
    Time time;
    ASSERT_TRUE(Parse(text, &time)) << text;
    EXPECT_EQ(time.millis(), expected) << text;
  }
}

TEST(Timestamp, RefusesEverythingElse) {
  const std::string_view cases[] = {
      "",
      "2",
      "2026",
      "2026-04",
      "2026-04-0",
      "2026-4-01",
      "26-04-01",
      "20260401",
      "2026/04/01",
      "+2026-04-01",
      "12026-04-01",
      "2026-04-01T",
      "2026-04-01T09",
      "2026-04-01T0900",
      "2026-04-01T9:00",
      "2026-04-01T09:0",
      "2026-04-01T09:00:",
      "2026-04-01T09:00:0",
      "2026-04-01T09:00:00.",
      "2026-04-01T09:00:00.Z",
      "2026-04-01T09:00.5",
      "2026-04-01T09:00:00 Z",
      "2026-04-01T09:00Z ",
      " 2026-04-01",
      "2026-04-01 ",
      "2026-04-01Z",
      "2026-04-01+05:30",
      "2026-04-01T09:00ZZ",
      "2026-04-01T09:00+",
      "2026-04-01T09:00+5",
      "2026-04-01T09:00+05:",
      "2026-04-01T09:00+05:3",
      "2026-04-01T09:00+053",
      "2026-04-01T09:00+05:300",
      "2026-04-01T09:00+05-30",
      "2026-04-01T09:00+24:00",
      "2026-04-01T09:00+05:60",
      "2026-04-01T24:00",
      "2026-04-01T23:60",
      "2026-04-01T23:59:60",
      "2026-04-01X09:00",
      "2026-04-01T09-00",
      "2026-00-01",
      "2026-13-01",
      "2026-04-00",
      "2026-04-31",
      "2026-02-29",
      "1900-02-29",
      "2100-02-29",
      "2024-02-30",
      "0000-01-01",
      "0001-01-01T00:00+00:01",
      "9999-12-31T23:59-00:01",
      "2026-04-0\xc2",
      "２０26-04-01",
      "2026-04-01T09:0a",
      "2026-04-01T09:00:0a",
      "2026-0a-01",
      "a026-04-01",
      "now",
      "tomorrow",
      "Wed, 01 Apr 2026 09:00:00 GMT",
      "$D_",
      "$D_-",
      "$D_x",
      "$D_1x",
      "$D_1.5",
      "$d_1",
      "$D_ 1",
      "$D_+1",
      "$D_1620000000000",
      "$D_999999999999",
      "$D_-99999999999",
      "$D_00000000000000000000001",
  };
  for (const std::string_view text : cases) {
    Time time = Time::Millis(77);
    EXPECT_FALSE(Parse(text, &time)) << text;
    EXPECT_EQ(time, Time::Millis(77)) << text;
  }
}

TEST(Timestamp, KnowsEveryDay) {
  const absl::CivilDay first(1, 1, 1);
  for (absl::CivilDay day = first; day.year() < 10'000; ++day) {
    char text[32];
    snprintf(text, sizeof(text), "%04d-%02d-%02d", static_cast<int>(day.year()), day.month(),
             day.day());
    Time time;
    ASSERT_TRUE(ParseTimestamp(text, &time)) << text;
    ASSERT_EQ(time.millis(), kFirst + (day - first) * 86'400'000) << text;
    const Time noon = time + Duration::Hours(12);
    ASSERT_EQ(FormatTimestamp(noon), std::string(text) + "T12:00:00.000Z");
  }
}

RC_GTEST_PROP(Timestamp, AgreesWithAbseil, ()) {
  const int64_t ms = *rc::gen::inRange<int64_t>(kFirst, kLast + 1);
  const absl::Time other = absl::FromUnixMillis(ms);
  const std::string text = FormatTimestamp(Time::Millis(ms));
  RC_ASSERT(text == absl::FormatTime("%E4Y-%m-%dT%H:%M:%E3SZ", other, absl::UTCTimeZone()));

  const int minutes = *rc::gen::inRange(-23 * 60 - 59, 24 * 60);
  const absl::TimeZone zone = absl::FixedTimeZone(minutes * 60);
  const std::string local = absl::FormatTime("%E4Y-%m-%dT%H:%M:%E3S%Ez", other, zone);
  const absl::CivilYear year(absl::ToCivilSecond(other, zone));
  Time time;
  const bool parsed = Parse(local, &time);
  RC_ASSERT(parsed == (year.year() >= 1 && year.year() <= 9999));
  if (parsed) RC_ASSERT(time.millis() == ms);
}

TEST(Timestamp, SurvivesEveryChangedByte) {
  std::mt19937 random(20260401);
  const std::string_view seeds[] = {"2026-04-01T09:00:07.123+05:30", "$D_1620000000", "2026-04-01"};
  for (int i = 0; i < 300'000; ++i) {
    std::string text(seeds[random() % 3]);
    text.resize(random() % (text.size() + 1));
    for (unsigned n = random() % 3; n > 0 && !text.empty(); --n) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    Time time;
    if (!Parse(text, &time)) continue;
    Time again;
    ASSERT_TRUE(Parse(FormatTimestamp(time), &again)) << text;
    ASSERT_EQ(time, again) << text;
  }
}

TEST(Timestamp, OfWhatHasNoYearIsTheNearest) {
  EXPECT_EQ(FormatTimestamp(Time::Min()), "0001-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatTimestamp(Time::Max()), "9999-12-31T23:59:59.999Z");
}

TEST(Timestamp, IsAppended) {
  std::string text = "at ";
  AppendTimestamp(Time::Millis(1'795'339'800'000), &text);
  EXPECT_EQ(text, "at 2026-11-22T09:30:00.000Z");
}

}  // namespace
}  // namespace segmentd
