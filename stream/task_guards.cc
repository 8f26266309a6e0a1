// max_changes_per_minute: the changes of each minute of the clock are counted by segment, and the
// counts are part of the task record. change_rules() pauses a segment that has passed its limit.
#include <algorithm>

#include "stream/task.h"

namespace segmentd {
namespace {

int64_t MinuteOf(Time time) {
  return time.millis() / 60'000;
}

}  // namespace

void Task::guard(const ActiveSegment& segment) {
  Minute& minute = minutes_[segment.slot];
  const int64_t now = MinuteOf(clock_.now());
  // A restored clock may be behind the one that counted.
  if (minute.version != segment.segment.version() || minute.minute < now) {
    minute = {segment.segment.version(), now, 0};
  }
  // Told of once a minute.
  if (++minute.changes != segment.segment.max_changes_per_minute() + 1 || segment.deleting) return;
  if (std::find(over_.begin(), over_.end(), segment.slot) == over_.end()) {
    over_.push_back(segment.slot);
  }
}

void Task::record_guards() {
  record_.clear_guard_counts();
  const int64_t now = MinuteOf(clock_.now());
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    const segments::v1::Segment& segment = definition.segment();
    if (segment.max_changes_per_minute() == 0 || definition.paused()) continue;
    const Minute& minute = minutes_[slot];
    const bool over = std::find(over_.begin(), over_.end(), slot) != over_.end();
    if (minute.version != segment.version() || (minute.minute < now && !over)) continue;
    segments::v1::GuardCount& count = *record_.add_guard_counts();
    count.set_slot(slot);
    count.set_version(minute.version);
    count.set_minute(minute.minute);
    count.set_changes(minute.changes);
    count.set_over(over);
  }
}

void Task::restore_guards() {
  minutes_.assign(definitions_.slots(), {});
  over_.clear();
  for (const segments::v1::GuardCount& count : record_.guard_counts()) {
    const auto it = definitions_.by_slot().find(count.slot());
    if (it == definitions_.by_slot().end()) continue;
    minutes_[count.slot()] = {count.version(), count.minute(), count.changes()};
    if (count.over()) over_.push_back(count.slot());
  }
}

}  // namespace segmentd
