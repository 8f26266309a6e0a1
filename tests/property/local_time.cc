#include "tests/property/local_time.h"

#include <cstdint>
#include <cstdlib>
#include <map>

namespace segmentd::property {
namespace {

Time FromAbsl(absl::Time time) {
  return Time::Millis(absl::ToUnixMillis(time));
}

absl::Time ToAbsl(Time time) {
  return absl::FromUnixMillis(time.millis());
}

bool HasOffset(const std::string& text) {
  if (text.size() <= 10) return false;
  return text[0] == '$' || text.find_first_of("Zz+-", 10) != std::string::npos;
}

}  // namespace

LocalTime::LocalTime(const std::string& zone) {
  static std::map<std::string, absl::TimeZone> loaded;
  const std::string name = zone.empty() ? "UTC" : zone;
  if (!loaded.contains(name) && !absl::LoadTimeZone(name, &loaded[name])) std::abort();
  zone_ = loaded[name];
}

Time LocalTime::moment(absl::CivilSecond local) const {
  const auto info = zone_.At(local);
  return FromAbsl(info.kind == absl::TimeZone::TimeInfo::SKIPPED ? info.trans : info.pre);
}

absl::CivilSecond LocalTime::local(Time time) const {
  return zone_.At(ToAbsl(time)).cs;
}

absl::CivilDay LocalTime::day(Time time) const {
  absl::CivilDay day(local(time));
  while (start(day + 1) <= time) ++day;
  return day;
}

Time LocalTime::parse(const std::string& text) const {
  Time time;
  if (!ParseTimestamp(text, &time)) std::abort();
  if (HasOffset(text)) return time;
  const auto utc = absl::UTCTimeZone().At(ToAbsl(time));
  return moment(utc.cs) + Duration::Millis(absl::ToInt64Milliseconds(utc.subsecond));
}

absl::CivilDay PeriodOf(const std::string& during, bool sunday, absl::CivilDay day, int later) {
  if (during == "today" || during == "yesterday") return day + later;
  if (during == "this_month" || during == "last_month") {
    return absl::CivilDay(absl::CivilMonth(day) + later);
  }
  if (during == "this_year") return absl::CivilDay(absl::CivilYear(day) + later);
  if (during != "this_week" && during != "last_week") std::abort();
  const absl::Weekday first = sunday ? absl::Weekday::sunday : absl::Weekday::monday;
  while (absl::GetWeekday(day) != first) --day;
  return day + int64_t{7} * later;
}

Range During(const std::string& during, bool sunday, const LocalTime& zone, Time now) {
  const absl::CivilDay day = zone.day(now);
  const Time begin = zone.start(PeriodOf(during, sunday, day));
  if (during != "yesterday" && during != "last_week" && during != "last_month") {
    return {begin, Time::Max()};
  }
  return {zone.start(PeriodOf(during, sunday, day, -1)), begin};
}

}  // namespace segmentd::property
