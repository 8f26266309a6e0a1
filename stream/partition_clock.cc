#include "stream/partition_clock.h"

#include <algorithm>

namespace segmentd {

bool PartitionClock::read(Time record_time, Time wall) {
  if (record_time > newest_record_) newest_record_ = record_time;
  move_to(std::min(record_time, wall) - grace_);
  return record_time <= wall;
}

void PartitionClock::restore(Time now, Time newest_record) {
  now_ = now;
  newest_record_ = newest_record;
}

}  // namespace segmentd
