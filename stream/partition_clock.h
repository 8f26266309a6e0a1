// A partition's notion of now: deadlines up to it are due.
//
// It is the newest record time read minus the grace, and while the partition is caught up the wall
// clock minus the grace. It never goes back.
#pragma once

#include <cstdint>

#include "segment/time.h"

namespace segmentd {

class PartitionClock {
 public:
  explicit PartitionClock(Duration grace) : grace_(grace) {}

  // A record was read. One ahead of `wall` counts as one of `wall`; false then.
  bool read(Time record_time, Time wall);

  // Everything that the broker held at `asked_at`, a wall-clock moment, has been applied.
  void caught_up(Time asked_at) { move_to(asked_at - grace_); }

  // Continues from a recorded clock.
  void restore(Time now, Time newest_record);

  // Time::Min() before the first record.
  Time now() const { return now_; }
  Time newest_record() const { return newest_record_; }

 private:
  void move_to(Time now) {
    if (now > now_) now_ = now;
  }

  Duration grace_;
  Time now_ = Time::Min();
  // As read: it may be ahead of the wall clock.
  Time newest_record_ = Time::Min();
};

}  // namespace segmentd
