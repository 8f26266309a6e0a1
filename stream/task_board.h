// Which partitions run in this process, on which worker, and how far they are.
//
// Workers post; anybody reads. What is posted is committed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

#include "proto/segments/v1/definition.pb.h"
#include "stream/applied_definitions.h"
#include "stream/io.h"
#include "stream/metrics.h"

namespace segmentd {

class Worker;

// Any thread may call.
class TaskBoard {
 public:
  struct Entry {
    // Valid as long as the instance.
    Worker* worker = nullptr;
    TaskState state = TaskState::kRestoring;
    // Why it has failed.
    std::string failure;
    std::shared_ptr<const DefinitionStatuses> definitions;
    // Behind the last definition that was run, as far as that is known; also of one that has
    // failed.
    Offset definitions_end;
  };

  void post(Partition partition, Entry entry);
  // Without effect when another worker has the partition by now.
  void remove(Partition partition, const Worker* worker);

  // The input has more partitions than it had at the start: no task can go on, for users' events
  // come in other partitions than their states are in.
  void stop_all() { no_task_runs_on_.store(true, std::memory_order_release); }
  bool stopped_all() const { return no_task_runs_on_.load(std::memory_order_acquire); }

  std::optional<Entry> find(Partition partition) const;
  std::map<Partition, Entry> entries() const;

  // Of a partition, whoever runs it; valid as long as the board.
  TaskMetrics& metrics(Partition partition);
  std::map<Partition, const TaskMetrics*> all_metrics() const;

  // Waits until no task of this process is without `version` of the segment (0: its deletion); one
  // that can't run that version counts as having it, one that has failed is left out. False when
  // the deadline came first.
  bool wait_applied(std::string_view id, int64_t version, absl::Time deadline) const;

  // Whether any task of this process runs an older version that this one waits for.
  bool waits_for_build(std::string_view id, int64_t version) const;

  // Over the tasks of this process, the first that fits: INVALID in any, PENDING in any, PAUSED in
  // any, BUILDING in any, ACTIVE; and why.
  struct Status {
    segments::v1::SegmentStatus status = segments::v1::SEGMENT_STATUS_PENDING;
    std::string detail;
    // Of BUILDING: of all the tasks' histories, each alike; in whole hundredths.
    double build_progress = 0;
  };
  Status status(std::string_view id, int64_t version) const;

  // What the tasks of this process run of the segment: the highest version, 0 for none, and whether
  // any of them has it paused.
  struct Running {
    int64_t version = 0;
    bool paused = false;
  };
  Running running(std::string_view id) const;

  // Behind the last definition that any task of this process has run. None where tasks are being
  // restored and no other one tells it.
  std::optional<Offset> definitions_end() const;

 private:
  std::atomic<bool> no_task_runs_on_{false};

  bool applied(std::string_view id, int64_t version) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  // Guards what follows.
  mutable std::mutex mutex_;
  // An entry is another.
  mutable std::condition_variable changed_;
  std::map<Partition, Entry> entries_;
  std::map<Partition, std::unique_ptr<TaskMetrics>> metrics_;
};

}  // namespace segmentd
