// What tasks and workers count. Written by the worker's thread, read by any; app/ exports them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "stream/decode_error.h"

namespace segmentd {

// A number with one writer: an increment is a plain load and store, no locked instruction.
class Metric {
 public:
  Metric() = default;
  explicit Metric(int64_t n) : value_(n) {}
  void add(int64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(int64_t n) { value_.store(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Lengths of time, in microseconds, counted in buckets that double from 64 µs to 17 s and one for
// what is longer. One writer.
class Histogram {
 public:
  static constexpr size_t kBuckets = 20;
  // Upper bound of a bucket, included; the last bucket has none.
  static constexpr int64_t BoundMicros(size_t bucket) { return int64_t{64} << bucket; }

  void record(int64_t micros) {
    size_t bucket = 0;
    while (bucket + 1 < kBuckets && micros > BoundMicros(bucket)) ++bucket;
    counts_[bucket].add(1);
    sum_micros_.add(micros);
  }
  int64_t count(size_t bucket) const { return counts_[bucket].value(); }
  int64_t sum_micros() const { return sum_micros_.value(); }

 private:
  std::array<Metric, kBuckets> counts_;
  Metric sum_micros_;
};

// Where a task is in its life; see task.h.
enum class TaskState : uint8_t { kRestoring, kReplaying, kRunning, kClosed, kFailed };

// What steps do. A task counts a step aside, as plain numbers, and adds it to its metrics when it
// is committed: the records of one that is not come again.
template <typename Number>
struct StepCounts {
  Number events{};
  Number late{};
  Number too_late{};
  Number duplicates{};
  // Event times too far ahead, replaced by the record time.
  Number future_times{};
  // Records stamped ahead of the wall clock.
  Number future_records{};
  Number deadlines{};
  // By DecodeError.
  std::array<Number, kDecodeErrors> dead_letters{};
  // By segments::v1::Action.
  std::array<Number, 4> changes{};
  // Changes of shadow segments, which are not written.
  Number shadow_changes{};
  Number images_saved{};
  Number image_bytes_saved{};
  // What the engine's bounds cut off.
  Number pendings_dropped{};
  Number facts_dropped{};
  Number message_ids_dropped{};
  Number profile_writes_refused{};
};

// Of one partition. Counters count since the process started; of a commit whose outcome no broker
// told, nothing.
struct TaskMetrics : StepCounts<Metric> {
  void add(const StepCounts<int64_t>& step) {
    events.add(step.events);
    late.add(step.late);
    too_late.add(step.too_late);
    duplicates.add(step.duplicates);
    future_times.add(step.future_times);
    future_records.add(step.future_records);
    deadlines.add(step.deadlines);
    for (size_t i = 0; i < dead_letters.size(); ++i) dead_letters[i].add(step.dead_letters[i]);
    for (size_t i = 0; i < changes.size(); ++i) changes[i].add(step.changes[i]);
    shadow_changes.add(step.shadow_changes);
    images_saved.add(step.images_saved);
    image_bytes_saved.add(step.image_bytes_saved);
    pendings_dropped.add(step.pendings_dropped);
    facts_dropped.add(step.facts_dropped);
    message_ids_dropped.add(step.message_ids_dropped);
    profile_writes_refused.add(step.profile_writes_refused);
  }

  std::atomic<TaskState> state{TaskState::kRestoring};

  // Times that memory was dropped and restored.
  Metric restores;

  Metric users;
  Metric users_unsaved;
  Metric state_bytes;
  Metric next_offset;
  // The offset behind the newest record known of; lag is its distance to next_offset.
  Metric end_offset;
  // Records that a recovery would read again.
  Metric replay_distance;
  // Milliseconds since 1970; 0 before the first record.
  Metric clock_ms;
  // Changelog offsets read and to be read.
  Metric restored_offset;
  Metric restore_end_offset;

  // Records read again for segments that count the past; written by the thread that reads them.
  Metric backfill_records;
  // Of the segments building, the one that is least far, in thousandths; 1000 when none is.
  Metric backfill_progress{1000};
  Metric segments_active;
  Metric segments_building;
  Metric segments_activating;
  Metric segments_paused;
};

// Of one worker.
struct WorkerMetrics {
  Metric commits;
  // Commits that did not succeed.
  Metric aborts;
  // From the first record applied to the commit.
  Histogram step;
  Histogram commit;
  Metric queries;
};

}  // namespace segmentd
