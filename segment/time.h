// Moments and lengths of time, in whole milliseconds.
//
// Every moment is on the Unix timeline in UTC; which clock it was read from (event time, record
// time, partition clock) is said by the name of the variable. 8 bytes, because users' states hold
// many of them.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace segmentd {

class Duration {
 public:
  constexpr Duration() = default;
  static constexpr Duration Millis(int64_t ms) { return Duration(ms); }
  static constexpr Duration Seconds(int64_t s) { return Duration(s * 1000); }
  static constexpr Duration Minutes(int64_t m) { return Seconds(m * 60); }
  static constexpr Duration Hours(int64_t h) { return Minutes(h * 60); }
  static constexpr Duration Days(int64_t d) { return Hours(d * 24); }

  constexpr int64_t millis() const { return ms_; }
  constexpr Duration operator-() const { return Duration(-ms_); }
  constexpr auto operator<=>(const Duration&) const = default;

 private:
  constexpr explicit Duration(int64_t ms) : ms_(ms) {}
  int64_t ms_ = 0;
};

// A moment. Sums with a Duration saturate at Min() and Max(), which stand for "before everything"
// and "never".
class Time {
 public:
  constexpr Time() = default;
  static constexpr Time Millis(int64_t ms_since_1970) { return Time(ms_since_1970); }
  static constexpr Time Min() { return Time(std::numeric_limits<int64_t>::min()); }
  static constexpr Time Max() { return Time(std::numeric_limits<int64_t>::max()); }

  constexpr int64_t millis() const { return ms_; }
  constexpr auto operator<=>(const Time&) const = default;

  friend constexpr Time operator+(Time t, Duration d) {
    if (t == Min() || t == Max()) return t;
    int64_t sum = 0;
    if (__builtin_add_overflow(t.ms_, d.millis(), &sum)) return d.millis() > 0 ? Max() : Min();
    return Time(sum);
  }
  friend constexpr Time operator-(Time t, Duration d) { return t + -d; }
  friend constexpr Duration operator-(Time a, Time b) { return Duration::Millis(a.ms_ - b.ms_); }

 private:
  constexpr explicit Time(int64_t ms) : ms_(ms) {}
  int64_t ms_ = 0;
};

// "500ms", "10m", "1h30m", "36h", "30d", "2w": whole numbers of the units w, d, h, m, s, ms, each
// at most once, largest first, at most ten years (3650 d) in all. A leading "-" only where
// `allow_negative`.
absl::StatusOr<Duration> ParseDuration(std::string_view text, bool allow_negative = false);

// ISO 8601 as events carry it: "2026-04-01", "2026-04-01T09:00", with optional seconds, fraction
// (of any length, cut to ms) and "Z", "+05:30", "+0530" or "+05" (UTC without); t, z and a space
// for T are read too; or CleverTap's "$D_<seconds>". The moment is in the years 1 to 9999 of UTC.
// No leap seconds, no 24:00, nothing around it. False leaves *time alone.
bool ParseTimestamp(std::string_view text, Time* time);

// "2026-11-22T09:30:00.000Z"; appends without allocating when `out` has room. A moment outside the
// years 1 to 9999 is written as the nearest within.
void AppendTimestamp(Time time, std::string* out);
std::string FormatTimestamp(Time time);

// "1h30m", the form that ParseDuration reads; in days, hours and less, "0s" for none.
std::string FormatDuration(Duration duration);

}  // namespace segmentd
