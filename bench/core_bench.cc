// Decoder, user look-up and engine together, in memory, as a task runs them on a batch: events/s of
// one thread at 1, 100, 1,000 and 2,500 live segments, and at 100 with 100 of past behaviour
// besides; 200,000 users, whose states are out of the processor's caches, and 10,000, whose states
// are in them.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/types/span.h"

#include "bench/backlog.h"
#include "bench/workload.h"
#include "segment/engine.h"
#include "state/user_store.h"
#include "stream/decoder.h"

// jemalloc's settings. Memory stays with the process between the rounds, as with a program that has
// run for a while; or each round would pay again for pages that the system gives out.
extern "C" {
// NOLINTNEXTLINE: jemalloc looks for a variable of this very name
const char* malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1";
}

namespace segmentd {
namespace {

constexpr int64_t kEventsPerUser = 5;
constexpr size_t kRun = 1000;
constexpr int64_t kStart = 1'790'000'000'000;

using Clock = std::chrono::steady_clock;

void BM_Core(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const auto past = static_cast<int>(state.range(1));
  const auto users_in_all = static_cast<int>(state.range(2));
  const int64_t events = users_in_all * kEventsPerUser;
  const bench::Workload workload(segments, users_in_all, std::max(20, segments / 5), past);
  std::vector<ActiveSegment> active;
  for (size_t i = 0; i < workload.segments().size(); ++i) {
    active.push_back({static_cast<Slot>(i), workload.segments()[i], Offset(0), Time(), false});
  }
  const auto rules = RuleSet::Compile(std::move(active)).value();

  const bench::Backlog backlog(workload, events, kStart);
  const std::vector<Record>& records = backlog.records();

  // Every round does the same work in the same order, in runs as long as a worker's. The best time
  // of each run over all rounds is what it takes where nothing else disturbs the machine meanwhile.
  std::vector<double> best((records.size() + kRun - 1) / kRun,
                           std::numeric_limits<double>::infinity());
  int64_t changes = 0;
  int64_t dead = 0;
  for (auto _ : state) {
    state.PauseTiming();
    Engine engine(rules, Settings());
    Decoder decoder{Settings()};
    auto users = std::make_unique<UserStore>();
    std::vector<uint64_t> hashes;
    hashes.reserve(kRun);
    Changes out;
    changes = 0;
    dead = 0;
    state.ResumeTiming();
    for (size_t begin = 0; begin < records.size(); begin += kRun) {
      const auto began = Clock::now();
      const auto run = absl::MakeConstSpan(records).subspan(begin, kRun);
      hashes.clear();
      for (const Record& record : run) hashes.push_back(UserStore::Hash(record.key));
      for (size_t i = 0; i < run.size(); ++i) {
        const size_t left = run.size() - i;
        if (left > 16) users->prefetch(hashes[i + 16]);
        if (left > 8) users->prefetch_user(hashes[i + 8]);
        if (left > 4) users->prefetch_state(hashes[i + 4]);
        if (left > 2) Prefetch(run[i + 2]);
        Event event;
        std::string_view id;
        if (!decoder.decode(run[i], rules->fields(), &event, &id).ok()) {
          ++dead;
          continue;
        }
        out.clear();
        engine.apply(event, Time::Min(), users->find_or_create(hashes[i], run[i].key).state, out);
        changes += static_cast<int64_t>(out.size());
      }
      double& least = best[begin / kRun];
      least = std::min(least, std::chrono::duration<double>(Clock::now() - began).count());
    }
    state.PauseTiming();
    users.reset();
    state.ResumeTiming();
  }
  if (dead > 0) state.SkipWithError("an event was not understood");
  state.SetItemsProcessed(state.iterations() * events);
  state.counters["undisturbed"] =
      static_cast<double>(events) / std::accumulate(best.begin(), best.end(), 0.0);
  state.counters["changes/event"] = static_cast<double>(changes) / static_cast<double>(events);
  state.counters["bytes/event"] =
      static_cast<double>(backlog.bytes()) / static_cast<double>(events);
}
// Several runs: the first pays for memory that the machine gives out for the first time.
BENCHMARK(BM_Core)
    ->ArgNames({"live", "past", "users"})
    ->Args({1, 0, 200'000})
    ->Args({100, 0, 200'000})
    ->Args({100, 0, 10'000})
    ->Args({100, 100, 200'000})
    ->Args({100, 100, 10'000})
    ->Args({1000, 0, 200'000})
    ->Args({2500, 0, 200'000})
    ->MinTime(3)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
