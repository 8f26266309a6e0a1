// A time zone's local calendar.
//
// Where daylight saving skips a local time, the moment of the change stands for it; where it
// repeats one, the first of both. Zone data are read when a zone is loaded, never per event. A
// Calendar is small, and any thread may use it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "segment/time.h"

namespace segmentd {

enum class Period : uint8_t { kDay, kWeek, kMonth, kYear };

class Calendar {
 public:
  // UTC, with weeks from Monday.
  Calendar() : zone_(absl::UTCTimeZone()) {}

  // By IANA name; "" is UTC. INVALID_ARGUMENT names a zone that is not known.
  static absl::StatusOr<Calendar> Load(std::string_view time_zone,
                                       bool weeks_start_on_sunday = false);

  // The first moment of the period that holds t, of the next one, of the one before. A period ends
  // where the next one begins: begin(t) <= t < next(t), also where clocks go back over midnight. A
  // period that the zone skipped as a whole does not exist. Outside the years 1 to 9999 there is
  // one period before, from Time::Min(), and none after: the last one ends at Time::Max().
  Time begin(Period period, Time t) const;
  Time next(Period period, Time t) const;
  Time previous(Period period, Time t) const;

  // A date of a definition ("2026-04-01", "2026-04-01T09:00", with seconds, fraction, Z or offset),
  // local in the zone unless it has an offset. False leaves *time alone.
  bool parse(std::string_view date, Time* time) const;

  // `date` shifted by `offset`. With `at`, a time of day, that time on the local day reached:
  // offset counts calendar days where it is whole days, and is an exact length otherwise. Without
  // `at` it always is an exact length.
  Time shift(Time date, Duration offset, std::optional<Duration> at) const;

  // The same local month, day and time of day as `date`, `years` years later; 29 February becomes
  // 28 February where there is none. Time::Min() and Max() beyond the years 1 to 9999.
  Time years_later(Time date, int years) const;

 private:
  // Where the period that holds t begins, as a local day, and where the next one does.
  struct Days {
    absl::CivilDay first;
    absl::CivilDay next;
  };
  Days period(Period period, Time t) const;
  absl::CivilDay following(Period period, absl::CivilDay first) const;
  // `millis` of the second count unless the local time is skipped.
  Time local(absl::CivilSecond second, int64_t millis = 0) const;

  absl::TimeZone zone_;
  absl::Weekday week_starts_ = absl::Weekday::monday;
};

}  // namespace segmentd
