#include "stream/backfill.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace segmentd {
namespace {

using std::chrono::steady_clock;

// Stands still but for what a test says that reading took. Of the reading thread.
class HandClock final : public Clock {
 public:
  Time wall() override { return Time::Millis(1'790'000'000'000); }
  absl::Duration monotonic() override { return now; }

  absl::Duration now;
};

// A record each poll, which takes `cost` by the clock.
class SlowHistory final : public HistorySource {
 public:
  SlowHistory(HandClock& clock, absl::Duration cost) : clock_(clock), cost_(cost) {}

  absl::StatusOr<Offset> open(Partition, Offset) override { return next_; }
  absl::StatusOr<const Batch*> poll(absl::Duration) override {
    clock_.now += cost_;
    batch_.records = {Record{.offset = next_}};
    next_ = next_.next();
    return &batch_;
  }
  void close() override {}

 private:
  HandClock& clock_;
  const absl::Duration cost_;
  Offset next_{0};
  Batch batch_;
};

// How long reading `records`, each of which takes `cost` by the clock, really takes.
steady_clock::duration Read(int64_t records, absl::Duration cost, double share, bool busy) {
  HandClock clock;
  SlowHistory source(clock, cost);
  TaskMetrics metrics;
  Backfill backfill({.busy_share = share}, source, clock);
  backfill.set_busy(busy);
  const auto began = steady_clock::now();
  const auto reading = backfill.begin(
      {.until = Offset(records), .rules = *RuleSet::Compile({}), .settings = {}}, metrics);
  while (!reading->done()) std::this_thread::yield();
  EXPECT_EQ(metrics.backfill_records.value(), records);
  return steady_clock::now() - began;
}

TEST(Backfill, TakesItsShareOfTheTimeOfABusyWorker) {
  // 3 ms of reading are followed by 7 ms of rest, which after the last record nobody waits for.
  EXPECT_GE(Read(20, absl::Milliseconds(3), 0.3, true), std::chrono::milliseconds(19 * 7));
  EXPECT_GE(Read(20, absl::Milliseconds(5), 0.5, true), std::chrono::milliseconds(19 * 5));
}

TEST(Backfill, RestsNotWhereTheWorkerIsIdle) {
  // With rests it would take weeks.
  Read(100, absl::Hours(3), 0.3, false);
}

TEST(Backfill, MayTakeAll) {
  Read(100, absl::Hours(3), 1, true);
}

}  // namespace
}  // namespace segmentd
