// Calendars, directly by the time zone database: for the oracle.
#pragma once

#include <string>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "segment/time.h"

namespace segmentd::property {

class LocalTime {
 public:
  // An IANA name; empty: UTC. Aborts on one that there is not.
  explicit LocalTime(const std::string& zone);

  // The moment of a local time: of one that is repeated the first, of one that is skipped the
  // moment of the change.
  Time moment(absl::CivilSecond local) const;
  Time start(absl::CivilDay day) const { return moment(absl::CivilSecond(day)); }
  // Milliseconds are cut.
  absl::CivilSecond local(Time time) const;
  // The last day that has begun.
  absl::CivilDay day(Time time) const;

  // "2026-04-01", "2026-04-01T09:00:00.000": local unless the text has an offset.
  Time parse(const std::string& text) const;

 private:
  absl::TimeZone zone_;
};

// from <= t < to.
struct Range {
  Time from = Time::Min();
  Time to = Time::Max();
  bool has(Time time) const { return from <= time && time < to; }
};

// The first day of the day, week, month or year that the range "today", "this_week", … is of, and
// of the one that comes so many later.
absl::CivilDay PeriodOf(const std::string& during, bool sunday, absl::CivilDay day, int later = 0);

// What "today", "last_week", … mean at `now`; those that have not ended go on for ever, because
// there are no events after now.
Range During(const std::string& during, bool sunday, const LocalTime& zone, Time now);

}  // namespace segmentd::property
