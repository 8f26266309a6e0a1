// A task at work without Kafka: decoder, look-up, engine, deadlines, changes encoded, images and
// task record written into transactions that go nowhere. What is missing to the pipeline is the
// client's consuming and producing. 200,000 users.
//
// Arguments: segments; events in a step (a commit every 10 ms holds about 4,000 at full speed).
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

void BM_Task(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const auto step_events = static_cast<size_t>(state.range(1));
  const bench::Workload workload(segments, kUsers, std::max(20, segments / 5));
  auto wanted = std::make_shared<std::vector<segments::v1::Segment>>(workload.segments());
  for (auto& segment : *wanted) segment.set_version(1);

  const bench::Backlog backlog(workload, kEvents, kStart);
  const std::vector<Record>& records = backlog.records();

  int64_t changes = 0;
  int64_t images = 0;
  int64_t bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    TaskOptions options;
    TaskMetrics metrics;
    NoTransactions transactions;
    Step step(transactions, {});
    auto task = std::make_unique<Task>(0, options, metrics);
    auto restored = std::make_unique<Restored>();
    restored->users = std::make_unique<UserStore>();
    if (!task->start(std::move(restored), std::nullopt, {Offset(0), Offset(kEvents)}).ok()) {
      state.SkipWithError("not started");
      return;
    }
    task->want(wanted);
    std::string why;
    const auto commit = [&](absl::Duration now) {
      task->save(step, now);
      step.commit({}, &why);
      task->committed();
    };
    commit(absl::ZeroDuration());
    state.ResumeTiming();
    size_t in_step = 0;
    for (size_t at = 0; at < records.size();) {
      const size_t n = std::min({size_t{1'000}, records.size() - at, step_events - in_step});
      const size_t taken =
          task->apply(absl::MakeConstSpan(records).subspan(at, n), Time::Max(), step);
      at += taken;
      in_step += taken;
      task->fire(step);
      if (in_step < step_events && !step.full()) continue;
      commit(absl::Milliseconds(static_cast<int64_t>(at) / bench::Backlog::kEventsPerMilli));
      in_step = 0;
    }
    state.PauseTiming();
    changes = task->next_change();
    images = metrics.images_saved.value();
    bytes = transactions.bytes;
    task.reset();
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

}  // namespace
}  // namespace segmentd
