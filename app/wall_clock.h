// The real clocks.
#pragma once

#include <time.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "stream/io.h"

namespace segmentd {

class WallClock final : public Clock {
 public:
  Time wall() override { return Time::Millis(absl::ToUnixMillis(absl::Now())); }
  absl::Duration monotonic() override {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return absl::DurationFromTimespec(now);
  }
};

}  // namespace segmentd
