#include "segment/calendar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace segmentd {
namespace {

using testing::HasSubstr;

Calendar Zone(std::string_view name, bool sunday = false) {
  const auto calendar = Calendar::Load(name, sunday);
  EXPECT_TRUE(calendar.ok()) << calendar.status();
  return calendar.value_or(Calendar());
}

Time At(std::string_view text) {
  Time time;
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

std::string Parsed(const Calendar& calendar, std::string_view date) {
  Time time;
  return calendar.parse(date, &time) ? FormatTimestamp(time) : "none";
}

std::string Shifted(const Calendar& calendar, std::string_view date, std::string_view offset,
                    std::optional<Duration> at = std::nullopt) {
  return FormatTimestamp(
      calendar.shift(At(date), ParseDuration(offset, /*allow_negative=*/true).value(), at));
}

// A moment and what the periods around it are: where it begins, the next, the one before.
struct Case {
  Period period;
  std::string_view t;
  std::string_view begin;
  std::string_view next;
  std::string_view previous;
};

void Check(const Calendar& calendar, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.t);
    EXPECT_EQ(FormatTimestamp(calendar.begin(c.period, At(c.t))), FormatTimestamp(At(c.begin)));
    EXPECT_EQ(FormatTimestamp(calendar.next(c.period, At(c.t))), FormatTimestamp(At(c.next)));
    EXPECT_EQ(FormatTimestamp(calendar.previous(c.period, At(c.t))),
              FormatTimestamp(At(c.previous)));
  }
}

TEST(Calendar, PeriodsOfUtc) {
  Check(Calendar(),
        {
            {Period::kDay, "2026-04-01", "2026-04-01", "2026-04-02", "2026-03-31"},
            {Period::kDay, "2026-04-01T23:59:59.999", "2026-04-01", "2026-04-02", "2026-03-31"},
            // 2026-04-01 is a Wednesday.
            {Period::kWeek, "2026-04-01T12:00", "2026-03-30", "2026-04-06", "2026-03-23"},
            {Period::kWeek, "2026-03-30", "2026-03-30", "2026-04-06", "2026-03-23"},
            {Period::kWeek, "2026-03-29T23:59:59.999", "2026-03-23", "2026-03-30", "2026-03-16"},
            {Period::kMonth, "2024-02-29T12:00", "2024-02-01", "2024-03-01", "2024-01-01"},
            {Period::kMonth, "2026-01-01", "2026-01-01", "2026-02-01", "2025-12-01"},
            {Period::kYear, "2026-12-31T23:59", "2026-01-01", "2027-01-01", "2025-01-01"},
            {Period::kYear, "1969-12-31T23:59:59.999", "1969-01-01", "1970-01-01", "1968-01-01"},
        });
}

TEST(Calendar, WeeksFromSunday) {
  Check(Zone("", /*sunday=*/true),
        {
            {Period::kWeek, "2026-04-01", "2026-03-29", "2026-04-05", "2026-03-22"},
            {Period::kWeek, "2026-03-29", "2026-03-29", "2026-04-05", "2026-03-22"},
            {Period::kWeek, "2026-03-28T23:59:59.999", "2026-03-22", "2026-03-29", "2026-03-15"},
        });
}

TEST(Calendar, PeriodsAcrossDaylightSaving) {
  Check(Zone("Europe/Berlin"), {
                                   // 29 March 2026 has 23 hours, 25 October 25.
                                   {Period::kDay, "2026-03-29T00:59Z", "2026-03-28T23:00Z",
                                    "2026-03-29T22:00Z", "2026-03-27T23:00Z"},
                                   {Period::kDay, "2026-03-29T21:59:59.999Z", "2026-03-28T23:00Z",
                                    "2026-03-29T22:00Z", "2026-03-27T23:00Z"},
                                   {Period::kDay, "2026-03-29T22:00Z", "2026-03-29T22:00Z",
                                    "2026-03-30T22:00Z", "2026-03-28T23:00Z"},
                                   {Period::kDay, "2026-10-25T00:30Z", "2026-10-24T22:00Z",
                                    "2026-10-25T23:00Z", "2026-10-23T22:00Z"},
                                   {Period::kDay, "2026-10-25T22:59:59.999Z", "2026-10-24T22:00Z",
                                    "2026-10-25T23:00Z", "2026-10-23T22:00Z"},
                                   {Period::kWeek, "2026-03-29T12:00Z", "2026-03-22T23:00Z",
                                    "2026-03-29T22:00Z", "2026-03-15T23:00Z"},
                                   {Period::kMonth, "2026-03-31T21:59Z", "2026-02-28T23:00Z",
                                    "2026-03-31T22:00Z", "2026-01-31T23:00Z"},
                                   {Period::kYear, "2026-07-01T00:00Z", "2025-12-31T23:00Z",
                                    "2026-12-31T23:00Z", "2024-12-31T23:00Z"},
                               });
  Check(Zone("America/New_York"), {
                                      {Period::kDay, "2026-03-08T12:00Z", "2026-03-08T05:00Z",
                                       "2026-03-09T04:00Z", "2026-03-07T05:00Z"},
                                      {Period::kDay, "2026-11-01T12:00Z", "2026-11-01T04:00Z",
                                       "2026-11-02T05:00Z", "2026-10-31T04:00Z"},
                                  });
  // By half an hour: 04 October 2026 at 02:00 from +10:30 to +11, 5 April back.
  Check(Zone("Australia/Lord_Howe"), {
                                         {Period::kDay, "2026-10-04T00:00Z", "2026-10-03T13:30Z",
                                          "2026-10-04T13:00Z", "2026-10-02T13:30Z"},
                                         {Period::kDay, "2026-04-05T00:00Z", "2026-04-04T13:00Z",
                                          "2026-04-05T13:30Z", "2026-04-03T13:00Z"},
                                     });
}

TEST(Calendar, TheFirstMomentOfADayWithoutMidnight) {
  // 4 November 2018 at 00:00 from -03 to -02.
  Check(Zone("America/Sao_Paulo"),
        {
            {Period::kDay, "2018-11-04T03:00Z", "2018-11-04T03:00Z", "2018-11-05T02:00Z",
             "2018-11-03T03:00Z"},
            {Period::kDay, "2018-11-04T02:59:59.999Z", "2018-11-03T03:00Z", "2018-11-04T03:00Z",
             "2018-11-02T03:00Z"},
            // 18 February 2018 at 00:00 back to 23:00: the 17th has 25 hours.
            {Period::kDay, "2018-02-18T02:30Z", "2018-02-17T02:00Z", "2018-02-18T03:00Z",
             "2018-02-16T02:00Z"},
        });
  // 27 March 2022 at 00:00 from +02 to +03.
  Check(Zone("Asia/Beirut"), {
                                 {Period::kDay, "2022-03-27T12:00Z", "2022-03-26T22:00Z",
                                  "2022-03-27T21:00Z", "2022-03-25T22:00Z"},
                             });
}

TEST(Calendar, TheFirstOfTwoMidnights) {
  // 1 November 2020 at 01:00 back to 00:00.
  Check(Zone("America/Havana"), {
                                    {Period::kDay, "2020-11-01T04:30Z", "2020-11-01T04:00Z",
                                     "2020-11-02T05:00Z", "2020-10-31T04:00Z"},
                                    {Period::kDay, "2020-11-01T05:30Z", "2020-11-01T04:00Z",
                                     "2020-11-02T05:00Z", "2020-10-31T04:00Z"},
                                    {Period::kMonth, "2020-11-01T05:30Z", "2020-11-01T04:00Z",
                                     "2020-12-01T05:00Z", "2020-10-01T04:00Z"},
                                });
  // 7 November 2010 at 00:01 back to 23:01 of the day before: the day has begun all the same.
  Check(Zone("America/St_Johns"),
        {
            {Period::kDay, "2010-11-07T02:30Z", "2010-11-07T02:30Z", "2010-11-08T03:30Z",
             "2010-11-06T02:30Z"},
            {Period::kDay, "2010-11-07T02:31Z", "2010-11-07T02:30Z", "2010-11-08T03:30Z",
             "2010-11-06T02:30Z"},
            {Period::kDay, "2010-11-07T03:29Z", "2010-11-07T02:30Z", "2010-11-08T03:30Z",
             "2010-11-06T02:30Z"},
            {Period::kDay, "2010-11-07T02:29:59.999Z", "2010-11-06T02:30Z", "2010-11-07T02:30Z",
             "2010-11-05T02:30Z"},
        });
}

TEST(Calendar, ADayThatTheZoneSkipped) {
  // 30 December 2011 was none in Samoa.
  Check(Zone("Pacific/Apia"), {
                                  {Period::kDay, "2011-12-30T09:59Z", "2011-12-29T10:00Z",
                                   "2011-12-30T10:00Z", "2011-12-28T10:00Z"},
                                  {Period::kDay, "2011-12-30T10:00Z", "2011-12-30T10:00Z",
                                   "2011-12-31T10:00Z", "2011-12-29T10:00Z"},
                              });
}

TEST(Calendar, BeyondTheYears) {
  for (const std::string_view zone : {"", "Asia/Kolkata", "America/New_York"}) {
    const Calendar calendar = Zone(zone);
    for (const Period period : {Period::kDay, Period::kWeek, Period::kMonth, Period::kYear}) {
      EXPECT_EQ(calendar.begin(period, Time::Min()), Time::Min());
      EXPECT_EQ(calendar.previous(period, Time::Min()), Time::Min());
      EXPECT_EQ(calendar.next(period, Time::Min()), At("0001-01-01"));
      EXPECT_EQ(calendar.next(period, Time::Max()), Time::Max());
      EXPECT_EQ(calendar.next(period, At("9999-12-31T23:59:59.999")), Time::Max());
      EXPECT_EQ(calendar.begin(period, Time::Max()),
                calendar.begin(period, At("9999-12-31T23:59:59.999")));
      EXPECT_LE(calendar.begin(period, At("0001-01-01")), At("0001-01-01"));
    }
    EXPECT_EQ(calendar.shift(Time::Max(), -Duration::Days(5), Duration::Hours(9)), Time::Max());
    EXPECT_EQ(calendar.shift(Time::Min(), Duration::Days(5), Duration::Hours(9)), Time::Min());
    EXPECT_EQ(calendar.years_later(Time::Max(), 1), Time::Max());
    EXPECT_EQ(calendar.years_later(At("9999-06-01"), 1), Time::Max());
    EXPECT_EQ(calendar.years_later(At("0001-06-01"), -1), Time::Min());
  }
}

TEST(Calendar, ReadsDates) {
  const Calendar berlin = Zone("Europe/Berlin");
  EXPECT_EQ(Parsed(Calendar(), "2026-04-01"), "2026-04-01T00:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-04-01"), "2026-03-31T22:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-01-01T09:00"), "2026-01-01T08:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-01-01 09:00:30.25"), "2026-01-01T08:00:30.250Z");
  EXPECT_EQ(Parsed(berlin, "1969-12-31T23:59:59.999"), "1969-12-31T22:59:59.999Z");
  // With an offset the zone means nothing.
  EXPECT_EQ(Parsed(berlin, "2026-01-01T09:00Z"), "2026-01-01T09:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-01-01T09:00-05:00"), "2026-01-01T14:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-01-01T09:00:00.5+0530"), "2026-01-01T03:30:00.500Z");
  EXPECT_EQ(Parsed(berlin, "$D_1767258000"), "2026-01-01T09:00:00.000Z");
  // Skipped: the moment of the change. Repeated: the first of both.
  EXPECT_EQ(Parsed(berlin, "2026-03-29T02:00"), "2026-03-29T01:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-03-29T02:59:59.999"), "2026-03-29T01:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-03-29T03:00"), "2026-03-29T01:00:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-10-25T02:30"), "2026-10-25T00:30:00.000Z");
  EXPECT_EQ(Parsed(berlin, "2026-10-25T03:00"), "2026-10-25T02:00:00.000Z");
  EXPECT_EQ(Parsed(Zone("Australia/Lord_Howe"), "2026-04-05T01:45"), "2026-04-04T14:45:00.000Z");
  EXPECT_EQ(Parsed(Zone("Australia/Lord_Howe"), "2026-10-04T02:15"), "2026-10-03T15:30:00.000Z");

  Time time = Time::Millis(7);
  for (const std::string_view date : {"", "2026", "2026-02-30", "tomorrow", "2026-04-01T",
                                      "2026-04-01T24:00", "9999-12-31T23:00-05:00"}) {
    EXPECT_FALSE(berlin.parse(date, &time)) << date;
  }
  EXPECT_FALSE(Zone("America/New_York").parse("9999-12-31T23:59", &time));
  EXPECT_FALSE(Zone("Asia/Kolkata").parse("0001-01-01", &time));
  EXPECT_EQ(time, Time::Millis(7));
}

TEST(Calendar, ShiftsADate) {
  const Calendar kolkata = Zone("Asia/Kolkata");
  const Calendar berlin = Zone("Europe/Berlin");
  const Duration nine = Duration::Hours(9);
  // Without a time of day the offset is an exact length, also across a change.
  EXPECT_EQ(Shifted(kolkata, "2026-11-27T10:15:00Z", "-5d"), "2026-11-22T10:15:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-03-30T10:00Z", "-5d"), "2026-03-25T10:00:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-03-30T10:00Z", "1h"), "2026-03-30T11:00:00.000Z");
  // 22:00Z is the next day in Kolkata already.
  EXPECT_EQ(Shifted(kolkata, "2026-11-26T22:00Z", "-5d", nine), "2026-11-22T03:30:00.000Z");
  EXPECT_EQ(Shifted(kolkata, "2026-11-26T22:00Z", "0d", nine), "2026-11-27T03:30:00.000Z");
  // Calendar days: 23:30 local, five days before, is 23:30 before the change too.
  EXPECT_EQ(Shifted(berlin, "2026-03-30T21:30Z", "-5d", nine), "2026-03-25T08:00:00.000Z");
  // 24 exact hours before 00:30 on the 30th are 23:30 on the 28th, since the 29th has 23; but 24h
  // is a whole day.
  EXPECT_EQ(Shifted(berlin, "2026-03-29T22:30Z", "-24h", nine), "2026-03-29T07:00:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-03-29T22:30Z", "-23h59m", nine), "2026-03-28T08:00:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-03-29T22:30Z", "1w", nine), "2026-04-06T07:00:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-06-01T20:00Z", "3h", nine), "2026-06-02T07:00:00.000Z");
  // The time of day skipped and repeated.
  EXPECT_EQ(Shifted(berlin, "2026-03-28T12:00Z", "1d", Duration::Minutes(150)),
            "2026-03-29T01:00:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-10-24T12:00Z", "1d", Duration::Minutes(150)),
            "2026-10-25T00:30:00.000Z");
  EXPECT_EQ(Shifted(berlin, "2026-10-24T12:00Z", "1d", Duration::Seconds(5)),
            "2026-10-24T22:00:05.000Z");
}

TEST(Calendar, YearsLater) {
  const auto later = [](const Calendar& calendar, std::string_view date, int years) {
    return FormatTimestamp(calendar.years_later(At(date), years));
  };
  const Calendar utc;
  EXPECT_EQ(later(utc, "2000-05-06T07:08:09.010", 26), "2026-05-06T07:08:09.010Z");
  EXPECT_EQ(later(utc, "2024-02-29T12:30", 1), "2025-02-28T12:30:00.000Z");
  EXPECT_EQ(later(utc, "2024-02-29T12:30", 4), "2028-02-29T12:30:00.000Z");
  EXPECT_EQ(later(utc, "2024-02-29T00:00", -124), "1900-02-28T00:00:00.000Z");
  EXPECT_EQ(later(utc, "2023-02-28T12:30", 1), "2024-02-28T12:30:00.000Z");
  EXPECT_EQ(later(utc, "2024-03-01", 1), "2025-03-01T00:00:00.000Z");
  EXPECT_EQ(later(utc, "2024-02-29", 0), "2024-02-29T00:00:00.000Z");
  // 29 February local, though 28 February in UTC.
  EXPECT_EQ(later(Zone("Asia/Kolkata"), "2024-02-28T20:00Z", 1), "2025-02-27T20:00:00.000Z");
  // The same time of day in winter as in summer; a skipped and a repeated one.
  const Calendar berlin = Zone("Europe/Berlin");
  EXPECT_EQ(later(berlin, "2025-03-29T09:00Z", 1), "2026-03-29T08:00:00.000Z");
  EXPECT_EQ(later(berlin, "2025-03-29T01:30:00.500Z", 1), "2026-03-29T01:00:00.000Z");
  EXPECT_EQ(later(berlin, "2025-10-25T00:30Z", 1), "2026-10-25T00:30:00.000Z");
  EXPECT_EQ(later(berlin, "2026-10-25T01:30Z", 0), "2026-10-25T01:30:00.000Z");
}

TEST(Calendar, RefusesUnknownZones) {
  for (const std::string_view name :
       {"Europe/Atlantis", "europe/berlin", "localtime", "posixrules", "/usr/share/zoneinfo/UTC",
        "../zoneinfo/UTC", "libc:localtime", "file:/etc/localtime", "Europe/", "+02:00", " UTC"}) {
    const auto calendar = Calendar::Load(name);
    ASSERT_FALSE(calendar.ok()) << name;
    EXPECT_EQ(calendar.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(calendar.status().message()), HasSubstr(name));
    EXPECT_THAT(std::string(calendar.status().message()), HasSubstr("Asia/Kolkata"));
  }
  EXPECT_FALSE(Calendar::Load(std::string(10'000, 'x')).ok());
  for (const std::string_view name : {"", "UTC", "Etc/UTC", "Etc/GMT+5", "EST5EDT"}) {
    EXPECT_TRUE(Calendar::Load(name).ok()) << name;
  }
}

constexpr const char* kZones[] = {
    "UTC",          "Europe/Berlin",    "America/New_York",  "Australia/Lord_Howe",
    "Asia/Beirut",  "America/St_Johns", "America/Sao_Paulo", "America/Havana",
    "Pacific/Apia", "Asia/Tehran",      "Africa/Casablanca", "America/Scoresbysund"};

// Each moment lies in the period that the moments before it lay in, or where that one ended.
TEST(Calendar, PeriodsFollowOneAnotherThroughAllChanges) {
  for (const char* zone : kZones) {
    SCOPED_TRACE(zone);
    const Calendar calendar = Zone(zone);
    for (const Period period : {Period::kDay, Period::kMonth}) {
      Time t = At("2009-12-31");
      Time begin = calendar.begin(period, t);
      Time next = calendar.next(period, t);
      for (; t < At("2012-02-01"); t = t + Duration::Minutes(30)) {
        if (t >= next) {
          ASSERT_EQ(calendar.previous(period, t), begin) << FormatTimestamp(t);
          begin = next;
          next = calendar.next(period, t);
        }
        ASSERT_EQ(calendar.begin(period, t), begin) << FormatTimestamp(t);
        ASSERT_EQ(calendar.next(period, t), next) << FormatTimestamp(t);
        ASSERT_LT(t, next);
      }
    }
  }
}

// Periods follow one another without gap or overlap, whatever the zone did.
RC_GTEST_PROP(Calendar, PeriodsDivideTheTimeline, ()) {
  const char* zone =
      *rc::gen::elementOf(std::vector<const char*>(std::begin(kZones), std::end(kZones)));
  const Calendar calendar = Zone(zone, *rc::gen::arbitrary<bool>());
  const auto period = *rc::gen::element(Period::kDay, Period::kWeek, Period::kMonth, Period::kYear);
  // 1900 to 2100.
  const Time t = Time::Millis(*rc::gen::inRange<int64_t>(-2'208'988'800'000, 4'102'444'800'000));
  const Time begin = calendar.begin(period, t);
  const Time next = calendar.next(period, t);
  RC_ASSERT(begin <= t);
  RC_ASSERT(t < next);
  const Time last = next - Duration::Millis(1);
  for (const Time inside : {begin, t, last}) {
    RC_ASSERT(calendar.begin(period, inside) == begin);
    RC_ASSERT(calendar.next(period, inside) == next);
  }
  RC_ASSERT(calendar.begin(period, next) == next);
  RC_ASSERT(calendar.previous(period, next) == begin);
  RC_ASSERT(calendar.next(period, calendar.previous(period, t)) == begin);
}

}  // namespace
}  // namespace segmentd
