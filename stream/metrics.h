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

// Of one partition. Counters count since the process started, dead letters and changes only those
// that were not yet told before a crash.
struct TaskMetrics {
  std::atomic<TaskState> state{TaskState::kRestoring};

  Metric events;
  Metric late;
  Metric too_late;
  Metric duplicates;
  // Event times too far ahead, replaced by the record time.
  Metric future_times;
  // Records stamped ahead of the wall clock.
  Metric future_records;
  Metric deadlines;
  // By DecodeError.
  std::array<Metric, kDecodeErrors> dead_letters;
  // By segments::v1::Action.
  std::array<Metric, 4> changes;
  // Changes of shadow segments, which are not written.
  Metric shadow_changes;
  Metric images_saved;
  Metric image_bytes_saved;
  // What the engine's bounds cut off.
  Metric pendings_dropped;
  Metric facts_dropped;
  Metric message_ids_dropped;
  Metric profile_writes_refused;
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
