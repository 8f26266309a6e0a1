// What a task's changelog holds: everything that is needed to go on where the last commit left off.
//
// Recovery has three parts. Here the changelog is read: the task record, the definitions in force
// and an image of each user, some of them older than the record. Then the task reads the input
// again, from the record's replay offset to its next offset, and silently applies to each user what
// their image does not include. At last it fires what is due up to the recorded clock, and the hash
// over all users must be the recorded one (Task::start, Task::apply).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "proto/segments/v1/state.pb.h"
#include "segment/event.h"
#include "state/user_store.h"
#include "stream/applied_definitions.h"
#include "stream/io.h"
#include "stream/metrics.h"

namespace segmentd {

struct Restored {
  // Absent: nothing was ever committed.
  std::optional<segments::v1::TaskRecord> record;
  AppliedDefinitions definitions;
  std::unique_ptr<UserStore> users;
  // By user: the first input offset that the image does not include.
  std::vector<Offset> included;
};

// Reads the partition's changelog to its end. DATA_LOSS names what can't be read; CANCELLED when
// `cancelled` became true. Any thread: besides the changelog it touches only the progress in
// `metrics`.
absl::StatusOr<std::unique_ptr<Restored>> ReadChangelog(Changelog& changelog, Partition partition,
                                                        const std::atomic<bool>& cancelled,
                                                        TaskMetrics& metrics);

}  // namespace segmentd
