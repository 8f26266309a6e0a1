#include "segment/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "segment/absl_view.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

constexpr Duration kMs = Duration::Millis(1);

Time At(std::string_view text) {
  Time time;
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

// The inside of a `did`, but for its event.
pb::Did DidOf(std::string_view inside) {
  const auto documents = ReadSegmentDocuments(
      absl::StrCat("{ name: S, past_behavior: { did: { event: A, ", AbslView(inside), " } } }"));
  EXPECT_TRUE(documents.ok()) << documents.status();
  EXPECT_TRUE(documents->at(0).violations.empty()) << documents->at(0).violations[0].message;
  return documents->at(0).segment.past_behavior().did();
}

std::vector<Measure> AllOf(std::string_view inside) {
  const auto measures = Measure::Compile(DidOf(inside));
  EXPECT_TRUE(measures.ok()) << measures.status();
  return *measures;
}

Measure Of(std::string_view inside) {
  const std::vector<Measure> all = AllOf(inside);
  EXPECT_EQ(all.size(), 1u);
  return all[0];
}

// When it holds, by asking only at the moments at which it says that it may turn: "+" and "-" with
// the moment, from `now` on.
std::string Turns(const Measure& measure, const MeasureState& state, Time now) {
  bool held = measure.holds(state, now);
  std::string out = held ? "+" : "-";
  for (int i = 0; i < 10'000; ++i) {
    const Time next = measure.next_change(state, now);
    if (next == Time::Max()) return out;
    EXPECT_GT(next, now);
    now = next;
    if (measure.holds(state, now) == held) continue;
    held = !held;
    absl::StrAppend(&out, " ", held ? "+" : "-", FormatTimestamp(now));
  }
  return out + " and so on";
}

struct Added {
  Time at;
  double value = 0;
};

MeasureState StateOf(const Measure& measure, const std::vector<Added>& events) {
  MeasureState state;
  for (const Added& event : events) measure.add(event.at, event.value, event.at, state);
  return state;
}

TEST(Measure, OneForEachNumber) {
  const auto properties = [](std::string_view inside) {
    std::string out;
    for (const Measure& m : AllOf(inside)) absl::StrAppend(&out, "[", m.property(), "]");
    return out;
  };
  EXPECT_EQ(properties("within_last: 1d"), "[]");
  EXPECT_EQ(properties("first_time: true"), "[]");
  EXPECT_EQ(properties("count: { at_least: 2 }, sum: { property: a, at_least: 1 }, "
                       "average: { property: b, at_most: 5 }, first_time: true"),
            "[][a][b][]");
}

TEST(Measure, AWindowToTheMillisecond) {
  const Measure measure = Of("within_last: 1d");
  const Time at = At("2026-11-22T10:00:00.500");
  const MeasureState state = StateOf(measure, {{at}});
  EXPECT_TRUE(measure.holds(state, at));
  EXPECT_FALSE(measure.holds(state, at - kMs)) << "an event ahead does not count";
  EXPECT_EQ(measure.next_change(state, at - kMs), at);
  EXPECT_TRUE(measure.holds(state, at + Duration::Days(1) - kMs));
  EXPECT_FALSE(measure.holds(state, at + Duration::Days(1)));
  EXPECT_EQ(Turns(measure, state, at), "+ -2026-11-23T10:00:00.500Z");
}

TEST(Measure, BetweenIsHalfOpen) {
  const Measure measure =
      Of("between: { from: 2026-04-01, to: 2026-06-01 }, time_zone: America/New_York");
  const Time from = At("2026-04-01T04:00");
  const Time to = At("2026-06-01T04:00");
  const auto counts = [&](Time at) { return measure.holds(StateOf(measure, {{at}}), at); };
  EXPECT_FALSE(counts(from - kMs));
  EXPECT_TRUE(counts(from));
  EXPECT_TRUE(counts(to - kMs));
  EXPECT_FALSE(counts(to));
  // What was counted stays so.
  const MeasureState state = StateOf(measure, {{from}});
  EXPECT_EQ(Turns(measure, state, from), "+");
  EXPECT_TRUE(measure.holds(state, At("2036-01-01")));
}

TEST(Measure, EverStays) {
  const Measure measure = Of("count: { at_least: 2 }");
  MeasureState state = StateOf(measure, {{At("2000-01-01")}});
  EXPECT_EQ(Turns(measure, state, At("2000-01-01")), "-");
  measure.add(At("2026-01-01"), 0, At("2026-01-01"), state);
  EXPECT_EQ(Turns(measure, state, At("2026-01-01")), "+");
}

TEST(Measure, CountOperators) {
  const Time t = At("2026-11-22");
  const auto turns = [&](std::string_view count) {
    const Measure measure = Of(absl::StrCat("within_last: 10s, count: ", AbslView(count)));
    MeasureState state;
    for (int i = 0; i < 4; ++i)
      measure.add(t + Duration::Seconds(i), 0, t + Duration::Seconds(i), state);
    return Turns(measure, state, t + Duration::Seconds(3));
  };
  const auto left = [&](int i) { return FormatTimestamp(t + Duration::Seconds(10 + i)); };
  EXPECT_EQ(turns("{ at_least: 3 }"), "+ -" + left(1));
  EXPECT_EQ(turns("{ greater_than: 3 }"), "+ -" + left(0));
  EXPECT_EQ(turns("{ equals: 2 }"), "- +" + left(1) + " -" + left(2));
  EXPECT_EQ(turns("{ not_equals: 2 }"), "+ -" + left(1) + " +" + left(2) + " -" + left(3));
  EXPECT_EQ(turns("{ less_than: 3 }"), "- +" + left(1) + " -" + left(3));
  EXPECT_EQ(turns("{ at_most: 4 }"), "+ -" + left(3)) << "nobody without an event";
  EXPECT_EQ(turns("{ at_most: 0 }"), "-");
  EXPECT_EQ(turns("{ at_most: 0 }, include_users_who_did_not: true"), "- +" + left(3));
  EXPECT_EQ(turns("{ greater_than: 1, less_than: 4 }"), "- +" + left(0) + " -" + left(2));
}

TEST(Measure, SumAndAverage) {
  const Time t = At("2026-11-22");
  const auto turns = [&](std::string_view inside) {
    const Measure measure = Of(absl::StrCat("within_last: 10s, ", AbslView(inside)));
    MeasureState state;
    int i = 0;
    for (double value : {3, 5, 7, 0, 0}) {
      measure.add(t + Duration::Seconds(i), value, t + Duration::Seconds(i), state);
      ++i;
    }
    return Turns(measure, state, t + Duration::Seconds(4));
  };
  const auto left = [&](int i) { return FormatTimestamp(t + Duration::Seconds(10 + i)); };
  EXPECT_EQ(turns("sum: { property: a, equals: 15 }"), "+ -" + left(0));
  EXPECT_EQ(turns("sum: { property: a, greater_than: 6 }"), "+ -" + left(2));
  EXPECT_EQ(turns("average: { property: a, equals: 3 }"), "+ -" + left(1)) << "12 / 4 as well";
  EXPECT_EQ(turns("average: { property: a, equals: 0 }"), "- +" + left(2) + " -" + left(4));
  EXPECT_EQ(turns("average: { property: a, equals: 0 }, include_users_who_did_not: true"),
            "- +" + left(2));
  EXPECT_EQ(turns("sum: { property: a, less_than: 0 }, include_users_who_did_not: true"), "-");
}

TEST(Measure, FirstTime) {
  const auto turns = [](std::string_view inside, const std::vector<std::string_view>& events) {
    const Measure measure = Of(absl::StrCat("first_time: true, ", AbslView(inside)));
    MeasureState state;
    for (std::string_view event : events) measure.add(At(event), 0, At("2026-11-22"), state);
    return Turns(measure, state, At("2026-11-22"));
  };
  EXPECT_EQ(turns("within_last: 30d", {}), "-");
  EXPECT_EQ(turns("within_last: 30d, include_users_who_did_not: true", {}), "-");
  EXPECT_EQ(turns("within_last: 30d", {"2026-11-21", "2026-11-22"}), "+ -2026-12-21T00:00:00.000Z");
  EXPECT_EQ(turns("within_last: 30d", {"2026-11-21", "2026-10-01"}), "-")
      << "an earlier one, though it came later";
  EXPECT_EQ(turns("between: { from: 2026-11-01, to: 2026-12-01 }", {"2026-11-21"}), "+");
  EXPECT_EQ(turns("between: { from: 2026-11-01, to: 2026-12-01 }", {"2026-11-21", "2026-10-31"}),
            "-");
  EXPECT_EQ(turns("during: this_month", {"2026-11-02"}), "+ -2026-12-01T00:00:00.000Z");
  EXPECT_EQ(turns("during: yesterday", {"2026-11-22"}),
            "- +2026-11-23T00:00:00.000Z -2026-11-24T00:00:00.000Z");
}

TEST(Measure, AverageOfEventsThatDidNotStay) {
  const Measure measure = Of(
      "between: { from: 2026-04-01, to: 2026-06-01 }, average: { property: a, greater_than: 10 }");
  MeasureState state;
  measure.add(At("2026-03-31"), 1000, At("2026-03-31"), state);
  EXPECT_FALSE(measure.holds(state, At("2026-04-01")));
  measure.add(At("2026-04-01"), 21, At("2026-04-01"), state);
  EXPECT_TRUE(measure.holds(state, At("2026-04-01")));
  measure.add(At("2026-04-02"), 0, At("2026-04-02"), state);
  EXPECT_TRUE(measure.holds(state, At("2026-04-02")));
  measure.add(At("2026-04-03"), 0, At("2026-04-03"), state);
  EXPECT_FALSE(measure.holds(state, At("2026-04-03"))) << "7 each";
}

TEST(Measure, DuringMovesAtLocalMidnight) {
  const auto turns = [](std::string_view inside, std::string_view at) {
    const Measure measure = Of(inside);
    return Turns(measure, StateOf(measure, {{At(at)}}), At(at));
  };
  EXPECT_EQ(turns("during: today", "2026-11-22T10:00"), "+ -2026-11-23T00:00:00.000Z");
  EXPECT_EQ(turns("during: yesterday", "2026-11-22T10:00"),
            "- +2026-11-23T00:00:00.000Z -2026-11-24T00:00:00.000Z");
  // 2026-11-22 is a Sunday.
  EXPECT_EQ(turns("during: this_week", "2026-11-22T10:00"), "+ -2026-11-23T00:00:00.000Z");
  EXPECT_EQ(turns("during: this_week, week_starts: sunday", "2026-11-22T10:00"),
            "+ -2026-11-29T00:00:00.000Z");
  EXPECT_EQ(turns("during: last_week", "2026-11-22T10:00"),
            "- +2026-11-23T00:00:00.000Z -2026-11-30T00:00:00.000Z");
  EXPECT_EQ(turns("during: this_month", "2026-11-22T10:00"), "+ -2026-12-01T00:00:00.000Z");
  EXPECT_EQ(turns("during: last_month", "2026-11-22T10:00"),
            "- +2026-12-01T00:00:00.000Z -2027-01-01T00:00:00.000Z");
  EXPECT_EQ(turns("during: this_year", "2026-11-22T10:00"), "+ -2027-01-01T00:00:00.000Z");
}

TEST(Measure, DaysOfDaylightSaving) {
  const auto turns = [](std::string_view zone, std::string_view at) {
    const Measure measure = Of(absl::StrCat("during: today, time_zone: ", AbslView(zone)));
    return Turns(measure, StateOf(measure, {{At(at)}}), At(at));
  };
  // 23 and 25 hours.
  EXPECT_EQ(turns("Europe/Berlin", "2026-03-28T23:00"), "+ -2026-03-29T22:00:00.000Z");
  EXPECT_EQ(turns("Europe/Berlin", "2026-10-24T22:00"), "+ -2026-10-25T23:00:00.000Z");
  EXPECT_EQ(turns("America/New_York", "2026-03-08T05:00"), "+ -2026-03-09T04:00:00.000Z");
  EXPECT_EQ(turns("America/New_York", "2026-11-01T04:00"), "+ -2026-11-02T05:00:00.000Z");
  // Half an hour.
  EXPECT_EQ(turns("Australia/Lord_Howe", "2026-10-03T13:30"), "+ -2026-10-04T13:00:00.000Z");
  EXPECT_EQ(turns("Australia/Lord_Howe", "2026-04-04T13:00"), "+ -2026-04-05T13:30:00.000Z");
  // The day begins at 01:00: there is no midnight.
  EXPECT_EQ(turns("America/Sao_Paulo", "2018-11-04T02:59:59.999"), "+ -2018-11-04T03:00:00.000Z");
  EXPECT_EQ(turns("America/Sao_Paulo", "2018-11-04T03:00"), "+ -2018-11-05T02:00:00.000Z");
  // 23:00 to 24:00 comes twice, the second time after the first midnight of the next day.
  EXPECT_EQ(turns("America/Sao_Paulo", "2018-02-18T02:30"), "+ -2018-02-18T03:00:00.000Z");
}

TEST(Measure, ACountKeepsWhatDecides) {
  const auto kept = [](std::string_view count) {
    const Measure measure = Of(absl::StrCat("within_last: 1d, ", AbslView(count)));
    MeasureState state;
    for (int i = 0; i < 50; ++i) {
      const Time at = At("2026-11-22") + Duration::Seconds(i);
      measure.add(at, 0, at, state);
    }
    return state.samples.size();
  };
  EXPECT_EQ(kept("count: { at_least: 1 }"), 1u);
  EXPECT_EQ(kept("count: { at_least: 3 }"), 3u);
  EXPECT_EQ(kept("count: { greater_than: 3 }"), 4u);
  EXPECT_EQ(kept("count: { less_than: 5 }, include_users_who_did_not: true"), 5u);
  EXPECT_EQ(kept("count: { equals: 3 }"), 4u);
  EXPECT_EQ(kept("count: { at_most: 0 }, include_users_who_did_not: true"), 1u);
}

// Joined: all counted and summed, the newest 256 each on its own, and none leaves early, nor later
// than what it was joined with.
void ExpectJoined(int events, Duration every, Duration window, Duration unit) {
  const Measure measure = Of(
      absl::StrCat("within_last: ", FormatDuration(window), ", sum: { property: a, at_least: 1 }"));
  const Time begin = At("2026-01-01T00:00:00.007");
  std::vector<Added> all;
  MeasureState state;
  for (int i = 0; i < events; ++i) {
    all.push_back({begin + Duration::Millis(every.millis() * i), static_cast<double>(i % 7) / 8});
    measure.add(all.back().at, all.back().value, all.back().at, state);
    ASSERT_LE(state.samples.size(), kMaxSamples);
  }
  const Time end = all.back().at;
  ASSERT_LT(state.samples.size(), all.size());
  for (size_t i = 0; i < kExactSamples; ++i) {
    const Sample& sample = state.samples[state.samples.size() - 1 - i];
    EXPECT_EQ(sample, (Sample{all[all.size() - 1 - i].at, all[all.size() - 1 - i].value, 1}));
  }
  const auto since = [&](Time from) {
    Measure::Reading reading;
    for (const Added& added : all) {
      if (added.at <= from) continue;
      ++reading.count;
      reading.sum += added.value;
    }
    return reading;
  };
  for (Time now = end; now < end + window + unit;
       now = now + Duration::Millis(window.millis() / 97)) {
    const Measure::Reading reading = measure.read(state, now);
    EXPECT_GE(reading.count, since(now - window).count);
    EXPECT_LE(reading.count, since(now - window - unit).count);
    EXPECT_GE(reading.sum, since(now - window).sum);
    EXPECT_LE(reading.sum, since(now - window - unit).sum);
    const Time next = measure.next_change(state, now);
    EXPECT_GT(next, now);
    if (reading.count > 0) {
      EXPECT_LE(next, now + window);
    }
  }
  EXPECT_EQ(measure.read(state, end).count, since(end - window).count);
  EXPECT_EQ(measure.read(state, end + window).count, 0);
}

TEST(Measure, ManyEventsAreJoinedByMinute) {
  ExpectJoined(3500, Duration::Seconds(1), Duration::Hours(1), Duration::Minutes(1));
}
TEST(Measure, ADayOfMinutesStaysSo) {
  ExpectJoined(4000, Duration::Seconds(30), Duration::Days(1), Duration::Minutes(1));
}
TEST(Measure, VeryManyByHour) {
  ExpectJoined(2800, Duration::Minutes(1), Duration::Days(2), Duration::Hours(1));
}
TEST(Measure, AndByDay) {
  ExpectJoined(12'900, Duration::Hours(1), Duration::Days(540), Duration::Days(1));
}

TEST(Measure, ASumStaysANumber) {
  // What is kept must be finite to be stored.
  constexpr double kMost = std::numeric_limits<double>::max();
  for (const char* range : {"within_last: 1d, ", "", "during: today, "}) {
    const Measure measure = Of(absl::StrCat(range, "sum: { property: a, greater_than: 5 }"));
    const Time now = At("2026-11-22T10:00");
    MeasureState state;
    for (int i = 0; i < 600; ++i) measure.add(now, kMost, now, state);
    MeasureState other = state;
    measure.merge(other, now, state);
    for (const Sample& sample : state.samples) EXPECT_TRUE(std::isfinite(sample.sum)) << range;
    EXPECT_TRUE(measure.holds(state, now)) << range;
  }
}

// What a measure means, in plain loops over all events.
class Naive {
 public:
  explicit Naive(pb::Did did) : did_(std::move(did)) {
    EXPECT_TRUE(absl::LoadTimeZone(did_.time_zone().empty() ? "UTC" : did_.time_zone(), &zone_));
  }

  bool holds(const std::vector<Added>& events, Time now) const {
    const auto [from, to] = range(now);
    double count = 0;
    double sum = 0;
    Time first = Time::Max();
    for (const Added& event : events) {
      if (event.at > now) continue;
      first = std::min(first, event.at);
      if (event.at < from || event.at >= to) continue;
      ++count;
      sum += event.value;
    }
    if (did_.first_time()) return first != Time::Max() && first >= from && first < to;
    if (count == 0 && !did_.include_users_who_did_not()) return false;
    if (did_.has_count()) return holds(did_.count(), count);
    if (did_.has_sum()) return holds(did_.sum(), sum);
    if (did_.has_average()) return holds(did_.average(), count == 0 ? 0 : sum / count);
    return count >= 1;
  }

  // The moments after `now` at which it may turn without an event, and those just before them.
  std::vector<Time> moments(const std::vector<Added>& events, Time now) const {
    std::vector<Time> out;
    if (!did_.within_last().empty()) {
      const Duration window = ParseDuration(did_.within_last()).value();
      for (const Added& event : events) out.push_back(event.at + window);
    } else if (!did_.during().empty()) {
      for (int day = -1; day < 800; ++day) out.push_back(local(day_of(now) + day));
    }
    for (size_t i = out.size(); i-- > 0;) out.push_back(out[i] - kMs);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    out.erase(out.begin(), std::upper_bound(out.begin(), out.end(), now));
    return out;
  }

 private:
  template <typename Condition>
  static bool holds(const Condition& c, double n) {
    return (!c.has_equals() || n == c.equals()) && (!c.has_not_equals() || n != c.not_equals()) &&
           (!c.has_greater_than() || n > c.greater_than()) &&
           (!c.has_at_least() || n >= c.at_least()) && (!c.has_less_than() || n < c.less_than()) &&
           (!c.has_at_most() || n <= c.at_most());
  }

  Time local(absl::CivilDay day) const {
    const absl::TimeZone::TimeInfo info = zone_.At(absl::CivilSecond(day));
    const bool skipped = info.kind == absl::TimeZone::TimeInfo::SKIPPED;
    return Time::Millis(absl::ToUnixMillis(skipped ? info.trans : info.pre));
  }
  // The latest local day begun; not the wall clock's where it goes back over midnight.
  absl::CivilDay day_of(Time t) const {
    absl::CivilDay day(absl::ToCivilDay(absl::FromUnixMillis(t.millis()), zone_) + 1);
    while (local(day) > t) --day;
    return day;
  }

  // Half-open.
  std::pair<Time, Time> range(Time now) const {
    const Time end = now + kMs;
    if (!did_.within_last().empty()) {
      return {now - ParseDuration(did_.within_last()).value() + kMs, end};
    }
    if (did_.has_between()) {
      const auto date = [&](std::string_view text) {
        const Time utc = At(text);
        return local(absl::CivilDay(
            absl::ToCivilDay(absl::FromUnixMillis(utc.millis()), absl::UTCTimeZone())));
      };
      return {date(did_.between().from()), date(did_.between().to())};
    }
    const std::string& during = did_.during();
    if (during.empty()) return {Time::Min(), end};
    const absl::CivilDay today = day_of(now);
    const absl::Weekday starts =
        did_.week_starts() == "sunday" ? absl::Weekday::sunday : absl::Weekday::monday;
    absl::CivilDay week = today;
    while (absl::GetWeekday(week) != starts) --week;
    const absl::CivilMonth month(today);
    if (during == "today") return {local(today), end};
    if (during == "yesterday") return {local(today - 1), local(today)};
    if (during == "this_week") return {local(week), end};
    if (during == "last_week") return {local(week - 7), local(week)};
    if (during == "this_month") return {local(absl::CivilDay(month)), end};
    if (during == "last_month") {
      return {local(absl::CivilDay(month - 1)), local(absl::CivilDay(month))};
    }
    return {local(absl::CivilDay(absl::CivilYear(today))), end};
  }

  pb::Did did_;
  absl::TimeZone zone_;
};

// A random `did` with one number, and events around days of interest.
class AnyMeasure {
 public:
  explicit AnyMeasure(uint64_t seed) : random_(seed) {}

  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  template <typename List>
  auto one_of(const List& list) {
    return list[static_cast<size_t>(below(static_cast<int>(std::size(list))))];
  }

  std::string did() {
    static const char* const kZones[] = {"UTC",
                                         "Europe/Berlin",
                                         "America/New_York",
                                         "Australia/Lord_Howe",
                                         "America/Sao_Paulo",
                                         "Asia/Kolkata"};
    static const char* const kDuring[] = {"today",      "yesterday",  "this_week", "last_week",
                                          "this_month", "last_month", "this_year"};
    static const char* const kWindows[] = {"1s", "10m", "36h", "7d"};
    static const char* const kOperators[] = {"equals",   "not_equals", "greater_than",
                                             "at_least", "less_than",  "at_most"};
    std::string out;
    const char* zone = one_of(kZones);
    switch (below(4)) {
      case 0:
        absl::StrAppend(&out, "within_last: ", one_of(kWindows));
        break;
      case 1:
        absl::StrAppend(&out, "between: { from: 2018-02-17, to: 2018-02-19 }, time_zone: ", zone);
        break;
      case 2:
        absl::StrAppend(&out, "during: ", one_of(kDuring), ", time_zone: ", zone,
                        below(2) == 0 ? ", week_starts: sunday" : "");
        break;
      default:
        absl::StrAppend(&out, "include_users_who_did_not: false");
    }
    std::string test;
    for (int i = below(3) == 0 ? 2 : 1; i > 0; --i) {
      const std::string op = one_of(kOperators);
      if (test.find(" " + op) == std::string::npos) {
        absl::StrAppend(&test, ", ", op, ": ", below(13) - 2);
      }
    }
    switch (below(5)) {
      case 0:
        break;
      case 1:
        absl::StrAppend(&out, ", count: {", test.substr(1), " }");
        break;
      case 2:
        absl::StrAppend(&out, ", sum: { property: a", test, " }");
        break;
      case 3:
        absl::StrAppend(&out, ", average: { property: a", test, " }");
        break;
      default:
        absl::StrAppend(&out, ", first_time: true");
    }
    if (out.find("include") == std::string::npos && below(2) == 0) {
      absl::StrAppend(&out, ", include_users_who_did_not: true");
    }
    return out;
  }

  Time moment() {
    static const char* const kMoments[] = {"2018-02-18T03:00", "2018-02-18T02:00",
                                           "2018-02-17T23:00", "2018-02-18T12:00",
                                           "2018-02-19T03:00", "2018-03-01"};
    static const int64_t kSpread[] = {0, 3, 1000, 600'000, 7'200'000, 90'000'000, 900'000'000};
    const auto spread = one_of(kSpread);
    return At(one_of(kMoments)) +
           Duration::Millis(
               static_cast<int64_t>(random_() % static_cast<uint64_t>(2 * spread + 1)) - spread);
  }
  std::vector<Added> events(int most) {
    std::vector<Added> out;
    for (int i = below(most + 1); i > 0; --i) {
      out.push_back({!out.empty() && below(5) == 0 ? out.back().at : moment(),
                     static_cast<double>(below(65) - 16) / 8});
    }
    return out;
  }

 private:
  std::mt19937_64 random_;
};

std::string Story(const std::string& did, const std::vector<Added>& events, Time now) {
  std::string out = did;
  for (const Added& event : events) {
    absl::StrAppend(&out, "\n  ", FormatTimestamp(event.at), " ", event.value);
  }
  return absl::StrCat(out, "\n  now ", FormatTimestamp(now));
}

// In the order of event time, as a fold has them.
RC_GTEST_PROP(Measure, IsWhatAListOfAllEventsSays, (uint64_t seed)) {
  AnyMeasure any(seed);
  for (int round = 0; round < 20; ++round) {
    const std::string did = any.did();
    const Measure measure = Of(did);
    const Naive naive(DidOf(did));
    std::vector<Added> events = any.events(12);
    std::sort(events.begin(), events.end(),
              [](const Added& a, const Added& b) { return a.at < b.at; });
    MeasureState state;
    std::vector<Added> so_far;
    for (size_t i = 0; i <= events.size(); ++i) {
      Time now = i == 0 ? any.moment() : events[i - 1].at;
      if (i > 0) {
        so_far.push_back(events[i - 1]);
        // Some come too late: they count from later on.
        Added& event = so_far.back();
        if (any.below(4) == 0) event.at = event.at - Duration::Millis(any.below(200'000'000));
        measure.add(event.at, event.value, now, state);
      } else if (!events.empty()) {
        now = std::min(now, events[0].at);
      }
      // Until the next event.
      const Time until = i < events.size() ? events[i].at : now + Duration::Days(800);
      bool held = naive.holds(so_far, now);
      if (measure.holds(state, now) != held) RC_FAIL(Story(did, so_far, now));
      Time next = measure.next_change(state, now);
      if (next <= now) RC_FAIL("next_change is past: " + Story(did, so_far, now));
      for (const Time t : naive.moments(so_far, now)) {
        if (t > until) break;
        const bool holds = naive.holds(so_far, t);
        if (measure.holds(state, t) != holds) RC_FAIL(Story(did, so_far, t));
        if (holds != held && next > t) RC_FAIL("next_change is late: " + Story(did, so_far, t));
        if (t >= next) next = measure.next_change(state, t);
        held = holds;
      }
    }
  }
}

RC_GTEST_PROP(Measure, MergedIsAsAddedInAnyOrder, (uint64_t seed)) {
  AnyMeasure any(seed);
  for (int round = 0; round < 20; ++round) {
    const std::string did = any.did();
    const Measure measure = Of(did);
    const Naive naive(DidOf(did));
    const std::vector<Added> events = any.events(30);
    Time now = any.moment();
    for (const Added& event : events) now = std::max(now, event.at);
    MeasureState all;
    MeasureState parts[2];
    for (const Added& event : events) {
      measure.add(event.at, event.value, now, all);
      measure.add(event.at, event.value, now, parts[any.below(2)]);
    }
    measure.merge(parts[1], now, parts[0]);
    for (int i = 0; i < 6; ++i) {
      const bool holds = naive.holds(events, now);
      if (measure.holds(all, now) != holds) RC_FAIL("added: " + Story(did, events, now));
      if (measure.holds(parts[0], now) != holds) RC_FAIL("merged: " + Story(did, events, now));
      if (measure.next_change(all, now) != measure.next_change(parts[0], now)) {
        RC_FAIL("next_change: " + Story(did, events, now));
      }
      const auto a = measure.read(all, now);
      const auto b = measure.read(parts[0], now);
      if (a.count != b.count || a.sum != b.sum || a.oldest != b.oldest || a.newest != b.newest) {
        RC_FAIL("read: " + Story(did, events, now));
      }
      now = std::min(measure.next_change(all, now), now + Duration::Millis(any.below(900'000'000)));
    }
  }
}

TEST(Measure, AnUnknownZoneIsAnError) {
  pb::Did did = DidOf("during: today");
  did.set_time_zone("Mars/Olympus");
  EXPECT_EQ(Measure::Compile(did).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace segmentd
