#include "segment/calendar.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr int64_t kMillisPerSecond = 1000;
constexpr int64_t kMillisPerDay = 86'400'000;

// Of the years 1 to 9999 of UTC.
constexpr int64_t kFirstMillis = -62'135'596'800'000;
constexpr int64_t kLastMillis = 253'402'300'799'999;

bool Before(Time t) {
  return t.millis() < kFirstMillis;
}
bool After(Time t) {
  return t.millis() > kLastMillis;
}

// A rest that is never negative.
int64_t Rest(int64_t value, int64_t divisor) {
  const int64_t rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}

// A timestamp that ParseTimestamp reads: does it say where on the Unix timeline it is?
bool HasOffset(std::string_view date) {
  return date.front() == '$' || date.find_first_of("Zz+-", 10) != std::string_view::npos;
}

}  // namespace

absl::StatusOr<Calendar> Calendar::Load(std::string_view time_zone, bool weeks_start_on_sunday) {
  Calendar calendar;
  if (weeks_start_on_sunday) calendar.week_starts_ = absl::Weekday::sunday;
  if (time_zone.empty() || time_zone == "UTC") return calendar;
  // What stands for the machine's own zone, and paths, would mean something else elsewhere.
  const bool is_name = time_zone.size() <= 64 && time_zone.front() != '/' &&
                       time_zone.find_first_of(":.") == std::string_view::npos &&
                       time_zone != "localtime" && time_zone != "posixrules";
  if (!is_name || !absl::LoadTimeZone(AbslView(time_zone), &calendar.zone_)) {
    return absl::InvalidArgumentError(
        absl::StrCat(time_zone.size() > 64 ? "this" : absl::StrCat("\"", AbslView(time_zone), "\""),
                     " is no known time zone; write an IANA name such as Asia/Kolkata"));
  }
  return calendar;
}

Time Calendar::local(absl::CivilSecond second, int64_t millis) const {
  const absl::TimeZone::TimeInfo info = zone_.At(second);
  if (info.kind == absl::TimeZone::TimeInfo::SKIPPED) {
    return Time::Millis(absl::ToUnixMillis(info.trans));
  }
  return Time::Millis(absl::ToUnixMillis(info.pre) + millis);
}

absl::CivilDay Calendar::following(Period period, absl::CivilDay first) const {
  switch (period) {
    case Period::kDay:
      return first + 1;
    case Period::kWeek:
      return first + 7;
    case Period::kMonth:
      return absl::CivilDay(absl::CivilMonth(first) + 1);
    case Period::kYear:
      return absl::CivilDay(absl::CivilYear(first) + 1);
  }
  return first + 1;
}

Calendar::Days Calendar::period(Period period, Time t) const {
  const absl::CivilDay day(zone_.At(absl::FromUnixMillis(t.millis())).cs);
  absl::CivilDay first = day;
  switch (period) {
    case Period::kDay:
      break;
    case Period::kWeek:
      first = absl::PrevWeekday(day + 1, week_starts_);
      break;
    case Period::kMonth:
      first = absl::CivilDay(absl::CivilMonth(day));
      break;
    case Period::kYear:
      first = absl::CivilDay(absl::CivilYear(day));
      break;
  }
  // Where clocks go back over midnight, the next period has begun already, though the local day is
  // the one before once more.
  absl::CivilDay next = following(period, first);
  while (local(absl::CivilSecond(next)) <= t) {
    first = next;
    next = following(period, first);
  }
  return {first, next};
}

Time Calendar::begin(Period period, Time t) const {
  if (Before(t)) return Time::Min();
  if (After(t)) t = Time::Millis(kLastMillis);
  return local(absl::CivilSecond(this->period(period, t).first));
}

Time Calendar::next(Period period, Time t) const {
  if (Before(t)) return Time::Millis(kFirstMillis);
  if (After(t)) return Time::Max();
  const Time next = local(absl::CivilSecond(this->period(period, t).next));
  return After(next) ? Time::Max() : next;
}

Time Calendar::previous(Period period, Time t) const {
  const Time first = begin(period, t);
  return first == Time::Min() ? first : begin(period, first - Duration::Millis(1));
}

bool Calendar::parse(std::string_view date, Time* time) const {
  Time parsed;
  if (!ParseTimestamp(date, &parsed)) return false;
  if (!HasOffset(date)) {
    const int64_t millis = Rest(parsed.millis(), kMillisPerSecond);
    const absl::CivilSecond second =
        absl::CivilSecond() + (parsed.millis() - millis) / kMillisPerSecond;
    parsed = local(second, millis);
    if (Before(parsed) || After(parsed)) return false;
  }
  *time = parsed;
  return true;
}

Time Calendar::shift(Time date, Duration offset, std::optional<Duration> at) const {
  if (!at.has_value() || Before(date) || After(date)) return date + offset;
  const bool whole_days = offset.millis() % kMillisPerDay == 0;
  const Time reached = whole_days ? date : date + offset;
  if (Before(reached) || After(reached)) return reached;
  absl::CivilDay day(zone_.At(absl::FromUnixMillis(reached.millis())).cs);
  if (whole_days) day += offset.millis() / kMillisPerDay;
  const int64_t millis = Rest(at->millis(), kMillisPerSecond);
  return local(absl::CivilSecond(day) + (at->millis() - millis) / kMillisPerSecond, millis);
}

Time Calendar::years_later(Time date, int years) const {
  if (years == 0 || Before(date) || After(date)) return date;
  const absl::CivilSecond from = zone_.At(absl::FromUnixMillis(date.millis())).cs;
  const int64_t year = from.year() + years;
  if (year < 1) return Time::Min();
  if (year > 9999) return Time::Max();
  absl::CivilSecond to(year, from.month(), from.day(), from.hour(), from.minute(), from.second());
  // 29 February of a year that has none is read as 1 March.
  if (to.month() != from.month()) to -= kMillisPerDay / kMillisPerSecond;
  return local(to, Rest(date.millis(), kMillisPerSecond));
}

}  // namespace segmentd
