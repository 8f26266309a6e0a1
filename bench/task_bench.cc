// A task at work without Kafka: decoder, look-up, engine, deadlines, changes encoded, images and
// task record written into transactions that go nowhere. What is missing to the pipeline is the
// client's consuming and producing; and how long an edit of a segment holds it up. 200,000 users.
//
// Arguments of the first: segments; events in a step (a commit every 10 ms holds about 4,000 at
// full speed).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench/backlog.h"
#include "bench/workload.h"
#include "stream/task.h"

namespace segmentd {
namespace {

constexpr int kUsers = 200'000;
constexpr int64_t kEvents = 1'000'000;
constexpr int64_t kStart = 1'790'000'000'000;

class NoTransactions final : public Transactions {
 public:
  absl::Status begin() override { return absl::OkStatus(); }
  absl::Status write(const Write& write) override {
    bytes += static_cast<int64_t>(write.key.size() + write.value.size());
    return absl::OkStatus();
  }
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>>, std::string*) override {
    return CommitResult::kCommitted;
  }
  void abort() override {}
  absl::Status renew() override { return absl::OkStatus(); }

  int64_t bytes = 0;
};

// A started task and what it writes to.
class Stage {
 public:
  explicit Stage(const std::vector<segments::v1::Segment>& segments) {
    auto restored = std::make_unique<Restored>();
    restored->users = std::make_unique<UserStore>();
    started_ = task.start(std::move(restored), std::nullopt, {Offset(0), Offset(kEvents)}).ok();
    want(segments);
  }

  bool started() const { return started_; }
  // Those without a version have the first.
  void want(std::vector<segments::v1::Segment> segments) {
    for (auto& segment : segments) segment.set_version(std::max<int64_t>(1, segment.version()));
    task.want(std::make_shared<std::vector<segments::v1::Segment>>(std::move(segments)));
  }
  void commit(absl::Duration now) {
    std::string why;
    task.save(step, now);
    step.commit({}, &why);
    task.committed();
  }
  // In steps of so many events; all that is due is fired.
  void apply(absl::Span<const Record> records, size_t step_events) {
    size_t in_step = 0;
    for (size_t at = 0; at < records.size();) {
      const size_t n = std::min({size_t{1'000}, records.size() - at, step_events - in_step});
      const size_t taken = task.apply(records.subspan(at, n), Time::Max(), step);
      at += taken;
      in_step += taken;
      task.fire(step);
      if (in_step < step_events && !step.full()) continue;
      commit(absl::Milliseconds(static_cast<int64_t>(at) / bench::Backlog::kEventsPerMilli));
      in_step = 0;
    }
  }

  TaskMetrics metrics;
  NoTransactions transactions;
  Step step{transactions, {}};
  TaskOptions options;
  Task task{0, options, metrics};

 private:
  bool started_ = false;
};

void BM_Task(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const auto step_events = static_cast<size_t>(state.range(1));
  const bench::Workload workload(segments, kUsers, std::max(20, segments / 5));
  const bench::Backlog backlog(workload, kEvents, kStart);

  int64_t changes = 0;
  int64_t images = 0;
  int64_t bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto stage = std::make_unique<Stage>(workload.segments());
    if (!stage->started()) {
      state.SkipWithError("not started");
      return;
    }
    stage->commit(absl::ZeroDuration());
    state.ResumeTiming();
    stage->apply(backlog.records(), step_events);
    state.PauseTiming();
    changes = stage->task.next_change();
    images = stage->metrics.images_saved.value();
    bytes = stage->transactions.bytes;
    stage.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kEvents);
  state.counters["changes/event"] = static_cast<double>(changes) / kEvents;
  state.counters["images/event"] = static_cast<double>(images) / kEvents;
  state.counters["bytes/event"] = static_cast<double>(bytes) / kEvents;
}
BENCHMARK(BM_Task)
    ->Args({1, 4'000})
    ->Args({100, 4'000})
    ->Args({1'000, 4'000})
    ->Args({100, 200})
    ->Unit(benchmark::kMillisecond);

// How long a change of definitions holds up a task's stream, with all users saved before: one of
// 100 segments edited. With 1, ten of them have it in their filters, so that what they are is
// settled for every user.
void BM_Edit(benchmark::State& state) {
  const bench::Workload workload(100, kUsers, 20);
  std::vector<segments::v1::Segment> segments = workload.segments();
  for (size_t i = 1; i <= 10 && state.range(0) != 0; ++i) {
    segments[i].mutable_live()->mutable_filter()->mutable_not_()->set_in_segment(segments[0].id());
  }
  const bench::Backlog backlog(workload, kEvents, kStart);
  for (auto _ : state) {
    state.PauseTiming();
    auto stage = std::make_unique<Stage>(segments);
    stage->commit(absl::ZeroDuration());
    stage->apply(backlog.records(), 4'000);
    absl::Duration now = absl::Hours(1);
    while (!stage->task.saved()) stage->commit(now += absl::Hours(1));
    std::vector<segments::v1::Segment> edited = segments;
    edited[0].mutable_live()->mutable_exit()->set_after("1d");
    edited[0].set_version(2);
    stage->want(std::move(edited));
    state.ResumeTiming();
    stage->commit(now += absl::Hours(1));
    state.PauseTiming();
    if (stage->task.has_work()) state.SkipWithError("not applied");
    stage.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_Edit)
    ->ArgName("referred_to")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(4)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
