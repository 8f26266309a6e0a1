// Reads the past of partitions again for segments that count it, beside the live stream and without
// stopping it: a worker's readings, one after the other.
//
// In production a thread of its own reads; it takes at most `busy_share` of its time while the
// worker is busy with events, so that the stream keeps the processor and the broker's attention.
// Errors that the client reports are tried again without end, with waits that grow up to 10 s,
// from where the reading had got.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"

#include "segment/history.h"
#include "segment/settings.h"
#include "stream/decoder.h"
#include "stream/io.h"
#include "stream/metrics.h"

namespace segmentd {

// What is to be read.
struct HistoryRequest {
  Partition partition = 0;
  // Records before it.
  Offset until;
  std::shared_ptr<const RuleSet> rules;
  Settings settings;
  // Of equal requests the same, in whichever life of the task they were made.
  std::string key;
};

// A request being read. Whoever asked for it keeps it; when they let go of it, it ends.
class HistoryReading {
 public:
  explicit HistoryReading(HistoryRequest request);

  // Any thread.
  const HistoryRequest& request() const { return request_; }
  bool done() const { return done_.load(std::memory_order_acquire); }
  // From 0 to 1.
  double progress() const;
  // Once done.
  const std::shared_ptr<const History>& history() const { return result_; }

 private:
  friend class Backfill;

  const HistoryRequest request_;
  std::atomic<int64_t> first_{-1};
  std::atomic<int64_t> position_{0};
  std::atomic<bool> done_{false};
  std::shared_ptr<const History> result_;

  // Of the reading thread.
  std::unique_ptr<History> history_;
  std::unique_ptr<Decoder> decoder_;
  int failures_ = 0;
};

class Backfill {
 public:
  struct Options {
    // Part of the reading thread's time that it may use while the worker is busy.
    double busy_share = 0.3;
    // On a thread of its own; otherwise in turn().
    bool background = true;
  };
  // `source` and `clock` outlive the backfill.
  Backfill(Options options, HistorySource& source, Clock& clock);
  ~Backfill();
  Backfill(const Backfill&) = delete;
  Backfill& operator=(const Backfill&) = delete;

  // The records read are counted in `metrics`, which outlives the backfill.
  std::shared_ptr<HistoryReading> begin(HistoryRequest request, TaskMetrics& metrics);
  // A portion, without a thread of its own.
  void turn();
  // Whether the worker has its hands full.
  void set_busy(bool busy) { busy_.store(busy, std::memory_order_relaxed); }

 private:
  struct Waiting {
    std::weak_ptr<HistoryReading> reading;
    TaskMetrics* metrics;
  };

  void run();
  // The reading that is to go on; null when there is none.
  std::shared_ptr<HistoryReading> next();
  void portion(HistoryReading& reading, absl::Duration wait);
  absl::Status read(HistoryReading& reading, absl::Duration wait);

  const Options options_;
  HistorySource& source_;
  Clock& clock_;
  std::atomic<bool> busy_{false};

  // Of the reading thread.
  Waiting current_{};
  bool open_ = false;
  // Monotonic.
  absl::Duration retry_at_ = -absl::InfiniteDuration();

  // Guards what follows.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace segmentd
