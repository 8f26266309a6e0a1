// Times that events carry as numbers.
#pragma once

#include "segment/time.h"

namespace segmentd {

// The first and last ms of the years that have an ISO form, 1 and 9999.
inline constexpr Time kFirstEventTime = Time::Millis(-62'135'596'800'000);
inline constexpr Time kLastEventTime = Time::Millis(253'402'300'799'999);

// `ms` is whole. Later than the last: Time::Max(), which the record time replaces. False: earlier
// than the first.
inline bool ParseEventTime(double ms, Time* time) {
  if (!(ms >= static_cast<double>(kFirstEventTime.millis()))) return false;
  *time = ms > static_cast<double>(kLastEventTime.millis())
              ? Time::Max()
              : Time::Millis(static_cast<int64_t>(ms));
  return true;
}

}  // namespace segmentd
