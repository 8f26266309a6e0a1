#include "segment/time.h"

#include <array>
#include <cstring>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr int64_t kMillisPerSecond = 1000;
constexpr int64_t kMillisPerDay = 86'400'000;

constexpr int64_t kMaxDurationMillis = 3650 * kMillisPerDay;

struct Unit {
  std::string_view name;
  int64_t millis;
};
// Largest first.
constexpr Unit kUnits[] = {{"w", 7 * kMillisPerDay},
                           {"d", kMillisPerDay},
                           {"h", 3'600'000},
                           {"m", 60'000},
                           {"s", 1000},
                           {"ms", 1}};

constexpr bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// Days from 1970-01-01 to a day of the proleptic Gregorian calendar, and back. Years are counted
// from March, so that the leap day is the last of its year (Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms").
constexpr int64_t DaysFromCivil(int64_t year, unsigned month, unsigned day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + static_cast<int64_t>(day_of_era) - 719'468;
}

struct Civil {
  int64_t year;
  unsigned month;
  unsigned day;
};
constexpr Civil CivilFromDays(int64_t days) {
  days += 719'468;
  const int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146'097);
  const unsigned year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const unsigned day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted_month = (5 * day_of_year + 2) / 153;
  const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  return {static_cast<int64_t>(year_of_era) + era * 400 + (month <= 2), month,
          day_of_year - (153 * shifted_month + 2) / 5 + 1};
}

constexpr int64_t kFirstMillis = DaysFromCivil(1, 1, 1) * kMillisPerDay;
constexpr int64_t kLastMillis = DaysFromCivil(10'000, 1, 1) * kMillisPerDay - 1;

constexpr unsigned DaysInMonth(unsigned year, unsigned month) {
  constexpr std::array<uint8_t, 13> kDays = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return month == 2 && leap ? 29 : kDays[month];
}

// Two digits at `p`; 100 or more when they are none.
inline unsigned TwoDigits(const char* p) {
  const unsigned tens = static_cast<unsigned char>(p[0]) - unsigned{'0'};
  const unsigned ones = static_cast<unsigned char>(p[1]) - unsigned{'0'};
  return tens > 9 || ones > 9 ? 100 : tens * 10 + ones;
}

// The rest of a timestamp after its minutes, seconds and fraction: empty, "Z", "+05:30", "+0530" or
// "+05". In minutes.
bool ParseOffset(const char* p, const char* end, int64_t* minutes) {
  *minutes = 0;
  if (p == end) return true;
  if (*p == 'Z' || *p == 'z') return p + 1 == end;
  if (*p != '+' && *p != '-') return false;
  const int64_t sign = *p == '-' ? -1 : 1;
  ++p;
  const auto left = end - p;
  if (left != 2 && left != 4 && left != 5) return false;
  const unsigned hour = TwoDigits(p);
  unsigned minute = 0;
  if (left == 4) minute = TwoDigits(p + 2);
  if (left == 5) {
    if (p[2] != ':') return false;
    minute = TwoDigits(p + 3);
  }
  if (hour > 23 || minute > 59) return false;
  *minutes = sign * static_cast<int64_t>(hour * 60 + minute);
  return true;
}

// "$D_<seconds>", what CleverTap's SDKs send for a date.
bool ParseDollarDate(std::string_view digits, Time* time) {
  const bool negative = !digits.empty() && digits.front() == '-';
  if (negative) digits.remove_prefix(1);
  if (digits.empty() || digits.size() > 12) return false;
  int64_t seconds = 0;
  for (const char c : digits) {
    if (!IsDigit(c)) return false;
    seconds = seconds * 10 + (c - '0');
  }
  const int64_t millis = (negative ? -seconds : seconds) * kMillisPerSecond;
  if (millis < kFirstMillis || millis > kLastMillis) return false;
  *time = Time::Millis(millis);
  return true;
}

inline char* PutTwoDigits(char* p, unsigned value) {
  p[0] = static_cast<char>('0' + value / 10);
  p[1] = static_cast<char>('0' + value % 10);
  return p + 2;
}

absl::Status BadDuration(std::string_view text, std::string_view problem) {
  const std::string shown = text.size() > 40 ? "this" : absl::StrCat("\"", AbslView(text), "\"");
  return absl::InvalidArgumentError(
      absl::StrCat(shown, " is no duration: ", AbslView(problem),
                   "; write for example 500ms, 10m, 1h30m, 36h, 30d or 2w"));
}

}  // namespace

absl::StatusOr<Duration> ParseDuration(std::string_view text, bool allow_negative) {
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (negative) {
    if (!allow_negative) return BadDuration(text, "it is negative");
    rest.remove_prefix(1);
  }
  if (rest.empty()) return BadDuration(text, "it is empty");

  int64_t total = 0;
  size_t next_unit = 0;
  while (!rest.empty()) {
    int64_t amount = 0;
    size_t digits = 0;
    while (digits < rest.size() && IsDigit(rest[digits])) {
      // 3650 days are 13 digits of milliseconds.
      if (digits == 15) return BadDuration(text, "it is longer than 3650d");
      amount = amount * 10 + (rest[digits++] - '0');
    }
    if (digits == 0) return BadDuration(text, "a whole number must stand before each unit");
    rest.remove_prefix(digits);

    size_t letters = 0;
    while (letters < rest.size() && !IsDigit(rest[letters])) ++letters;
    const std::string_view name = rest.substr(0, letters);
    rest.remove_prefix(letters);
    size_t unit = 0;
    while (unit < std::size(kUnits) && kUnits[unit].name != name) ++unit;
    if (unit == std::size(kUnits)) {
      return BadDuration(text, name.empty() ? "a unit is missing (w, d, h, m, s or ms)"
                                            : "the units are w, d, h, m, s and ms");
    }
    if (unit < next_unit) return BadDuration(text, "units stand once each, the largest first");
    next_unit = unit + 1;

    int64_t part = 0;
    if (__builtin_mul_overflow(amount, kUnits[unit].millis, &part) || part > kMaxDurationMillis ||
        (total += part) > kMaxDurationMillis) {
      return BadDuration(text, "it is longer than 3650d");
    }
  }
  return Duration::Millis(negative ? -total : total);
}

bool ParseTimestamp(std::string_view text, Time* time) {
  const char* p = text.data();
  const char* const end = p + text.size();
  if (text.size() < 10) {
    return text.substr(0, 3) == "$D_" && ParseDollarDate(text.substr(3), time);
  }

  const unsigned century = TwoDigits(p);
  if (century > 99) {
    return text.substr(0, 3) == "$D_" && ParseDollarDate(text.substr(3), time);
  }
  const unsigned year_of_century = TwoDigits(p + 2);
  const unsigned month = TwoDigits(p + 5);
  const unsigned day = TwoDigits(p + 8);
  if (year_of_century > 99 || p[4] != '-' || p[7] != '-') return false;
  const unsigned year = century * 100 + year_of_century;
  if (year == 0 || month - 1 > 11 || day == 0 || day > DaysInMonth(year, month)) return false;
  const int64_t days = DaysFromCivil(year, month, day);
  p += 10;
  if (p == end) {
    *time = Time::Millis(days * kMillisPerDay);
    return true;
  }

  if ((*p != 'T' && *p != ' ' && *p != 't') || end - p < 6 || p[3] != ':') return false;
  const unsigned hour = TwoDigits(p + 1);
  const unsigned minute = TwoDigits(p + 4);
  if (hour > 23 || minute > 59) return false;
  p += 6;
  unsigned second = 0;
  unsigned millis = 0;
  if (p != end && *p == ':') {
    if (end - p < 3) return false;
    second = TwoDigits(p + 1);
    if (second > 59) return false;
    p += 3;
    if (p != end && (*p == '.' || *p == ',')) {
      const char* const fraction = ++p;
      while (p != end && IsDigit(*p)) {
        if (p - fraction < 3) millis = millis * 10 + static_cast<unsigned>(*p - '0');
        ++p;
      }
      if (p == fraction) return false;
      if (p - fraction == 1) millis *= 100;
      if (p - fraction == 2) millis *= 10;
    }
  }
  int64_t offset_minutes = 0;
  if (!ParseOffset(p, end, &offset_minutes)) return false;

  const int64_t minutes = static_cast<int64_t>(hour * 60 + minute) - offset_minutes;
  const int64_t result =
      days * kMillisPerDay + minutes * 60'000 + static_cast<int64_t>(second * 1000 + millis);
  // An offset can lead out of the years that can be written.
  if (result < kFirstMillis || result > kLastMillis) return false;
  *time = Time::Millis(result);
  return true;
}

void AppendTimestamp(Time time, std::string* out) {
  const int64_t ms = time.millis() < kFirstMillis  ? kFirstMillis
                     : time.millis() > kLastMillis ? kLastMillis
                                                   : time.millis();
  const int64_t days = (ms - kFirstMillis) / kMillisPerDay + kFirstMillis / kMillisPerDay;
  const auto in_day = static_cast<unsigned>(ms - days * kMillisPerDay);
  const Civil date = CivilFromDays(days);
  const auto year = static_cast<unsigned>(date.year);

  char text[24];
  char* p = PutTwoDigits(text, year / 100);
  p = PutTwoDigits(p, year % 100);
  *p++ = '-';
  p = PutTwoDigits(p, date.month);
  *p++ = '-';
  p = PutTwoDigits(p, date.day);
  *p++ = 'T';
  p = PutTwoDigits(p, in_day / 3'600'000);
  *p++ = ':';
  p = PutTwoDigits(p, in_day / 60'000 % 60);
  *p++ = ':';
  p = PutTwoDigits(p, in_day / 1000 % 60);
  *p++ = '.';
  const unsigned millis = in_day % 1000;
  *p++ = static_cast<char>('0' + millis / 100);
  p = PutTwoDigits(p, millis % 100);
  *p = 'Z';
  out->append(text, sizeof(text));
}

std::string FormatTimestamp(Time time) {
  std::string text;
  text.reserve(24);
  AppendTimestamp(time, &text);
  return text;
}

std::string FormatDuration(Duration duration) {
  if (duration == Duration()) return "0s";
  std::string text;
  // The absolute value of the least number is one that int64_t has not.
  auto left = static_cast<uint64_t>(duration.millis());
  if (duration < Duration()) {
    text = "-";
    left = 0 - left;
  }
  // Days for weeks: 14d reads easier than 2w, and 15d than 2w1d.
  for (const Unit& unit : kUnits) {
    if (unit.name == "w") continue;
    const auto millis = static_cast<uint64_t>(unit.millis);
    if (left >= millis) absl::StrAppend(&text, left / millis, AbslView(unit.name));
    left %= millis;
  }
  return text;
}

}  // namespace segmentd
