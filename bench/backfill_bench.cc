// The past read again for segments that count it, without Kafka: decoding, look-up of the user,
// conditions, measures. 200,000 users, 30-day windows.
//
// Arguments: segments that are built at once.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/backlog.h"
#include "bench/workload.h"
#include "segment/history.h"
#include "stream/decoder.h"

namespace segmentd {
namespace {

constexpr int kUsers = 200'000;
constexpr int64_t kEvents = 1'000'000;
constexpr int64_t kStart = 1'790'000'000'000;

void BM_Backfill(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const bench::Workload workload(0, kUsers, 20, segments);
  std::vector<ActiveSegment> active;
  for (const auto& segment : workload.segments()) {
    active.push_back(
        {.slot = static_cast<Slot>(active.size()), .segment = segment, .built = false});
  }
  const auto rules = RuleSet::Compile(std::move(active));
  if (!rules.ok()) {
    state.SkipWithError("the definitions do not compile");
    return;
  }
  const bench::Backlog backlog(workload, kEvents, kStart);
  const std::vector<Record>& records = backlog.records();
  size_t users = 0;
  for (auto _ : state) {
    History history(*rules, Settings());
    Decoder decoder{Settings()};
    Event event;
    std::string_view user;
    for (const Record& record : records) {
      if (!decoder.decode(record, (*rules)->fields(), &event, &user).ok()) continue;
      history.add(record.key, event);
    }
    history.finish();
    users = history.users();
    state.PauseTiming();
    benchmark::DoNotOptimize(users);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kEvents);
  state.counters["users"] = static_cast<double>(users);
}
BENCHMARK(BM_Backfill)->Arg(1)->Arg(4)->Arg(20)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
