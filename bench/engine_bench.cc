// The engine alone, in memory: events/s of one thread at 1, 100, 1,000 and 2,500 live segments, and
// at 100 with 100 of past behaviour besides; 200,000 users. And one user with a long history: the
// longest step.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "bench/workload.h"
#include "segment/engine.h"

namespace segmentd {
namespace {

constexpr int kUsers = 200'000;
// So many make the users' states, and so many more are timed. As many event names as keep the
// changes an event about the same: 20 for up to 100 segments.
constexpr int64_t kEvents = 1'000'000;
constexpr int64_t kStart = 1'790'000'000'000;
// 100 s of event time for the whole run.
constexpr int64_t kEventsPerMilli = 10;

struct Prepared {
  std::string name;
  std::string message_id;
  std::string second_id;
  std::string category;
  double amount;
  size_t user;
};

void BM_Engine(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const auto past = static_cast<int>(state.range(1));
  const bench::Workload workload(segments, kUsers, std::max(20, segments / 5), past);
  std::vector<ActiveSegment> active;
  for (size_t i = 0; i < workload.segments().size(); ++i) {
    active.push_back({.slot = static_cast<Slot>(i), .segment = workload.segments()[i]});
  }
  const auto rules = RuleSet::Compile(std::move(active)).value();
  FieldIndex category = Fields::kNone;
  FieldIndex amount = Fields::kNone;
  for (FieldIndex f = 0; f < rules->fields().size(); ++f) {
    if (rules->fields().path(f) == "category") category = f;
    if (rules->fields().path(f) == "amount") amount = f;
  }
  std::vector<Prepared> events(kEvents);
  for (int64_t i = 0; i < kEvents; ++i) {
    Prepared& e = events[static_cast<size_t>(i)];
    workload.fill(i, &e.name, &e.category, &e.amount, &e.user);
    e.message_id = absl::StrCat("m-", i);
    e.second_id = absl::StrCat("n-", i);
  }
  int64_t changes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    Engine engine(rules, Settings());
    std::vector<UserState> users(kUsers);
    Changes out;
    changes = 0;
    const auto apply = [&](int64_t i) {
      const Prepared& e = events[static_cast<size_t>(i % kEvents)];
      // As a task does with a batch.
      const auto ahead = static_cast<size_t>(i % kEvents);
      if (ahead + 16 < kEvents) {
        const UserState* next = &users[events[ahead + 16].user];
        for (size_t line = 0; line < sizeof(UserState); line += 64) {
          __builtin_prefetch(reinterpret_cast<const char*>(next) + line);
        }
        Prefetch(users[events[ahead + 8].user]);
      }
      EventProperty properties[2];
      size_t n = 0;
      if (category != Fields::kNone) properties[n++] = {category, Value::String(e.category)};
      if (amount != Fields::kNone) properties[n++] = {amount, Value::Number(e.amount)};
      Event event;
      event.name = e.name;
      event.time = Time::Millis(kStart + i / kEventsPerMilli);
      event.record_time = event.time;
      event.offset = Offset(i);
      event.message_id = i < kEvents ? e.message_id : e.second_id;
      event.properties = absl::MakeConstSpan(properties, n);
      out.clear();
      engine.apply(event, Time::Min(), users[e.user], out);
      changes += static_cast<int64_t>(out.size());
    };
    for (int64_t i = 0; i < kEvents; ++i) apply(i);
    state.ResumeTiming();
    for (int64_t i = kEvents; i < 2 * kEvents; ++i) apply(i);
    // What it takes to drop the users is not the engine's.
    state.PauseTiming();
    users = std::vector<UserState>();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kEvents);
  state.counters["changes/event"] = static_cast<double>(changes) / static_cast<double>(2 * kEvents);
  state.counters["atoms"] = static_cast<double>(rules->atoms());
}
BENCHMARK(BM_Engine)
    ->ArgNames({"live", "past"})
    ->Args({1, 0})
    ->Args({100, 0})
    ->Args({100, 100})
    ->Args({1000, 0})
    ->Args({2500, 0})
    ->Unit(benchmark::kMillisecond);

// One user's 100,000 events, some of them late, against 100 live segments and 100 of past
// behaviour: no step may take long, however much is kept of the user. Of 20 event names, and of one
// alone: then every event counts for a quarter of the segments, and each sum has all the samples
// that are kept.
void BM_OneUser(benchmark::State& state) {
  const bench::Workload workload(100, 1, static_cast<int>(state.range(0)), 100);
  std::vector<ActiveSegment> active;
  for (size_t i = 0; i < workload.segments().size(); ++i) {
    active.push_back({.slot = static_cast<Slot>(i), .segment = workload.segments()[i]});
  }
  const auto rules = RuleSet::Compile(std::move(active)).value();
  // Of each step the least of all runs, which leaves out what else the machine did.
  std::vector<double> micros(100'000, std::numeric_limits<double>::max());
  for (auto _ : state) {
    Engine engine(rules, Settings());
    UserState user;
    Changes out;
    for (int64_t i = 0; i < 100'000; ++i) {
      std::string name;
      std::string category;
      double amount = 0;
      size_t index = 0;
      workload.fill(i, &name, &category, &amount, &index);
      std::vector<EventProperty> properties;
      for (FieldIndex f = 0; f < rules->fields().size(); ++f) {
        if (rules->fields().path(f) == "category")
          properties.push_back({f, Value::String(category)});
        if (rules->fields().path(f) == "amount") properties.push_back({f, Value::Number(amount)});
      }
      const std::string message_id = absl::StrCat("m-", i);
      Event event;
      event.name = name;
      // One event in a second, and one in 50 a minute late.
      event.record_time = Time::Millis(kStart + i * 1000);
      event.time = event.record_time - Duration::Seconds(i % 50 == 49 ? 60 : 0);
      event.offset = Offset(i);
      event.message_id = message_id;
      event.properties = properties;
      out.clear();
      const auto begin = std::chrono::steady_clock::now();
      engine.apply(event, Time::Min(), user, out);
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - begin;
      micros[static_cast<size_t>(i)] = std::min(micros[static_cast<size_t>(i)], took.count());
    }
  }
  std::sort(micros.begin(), micros.end());
  state.counters["p50_us"] = micros[micros.size() / 2];
  state.counters["p99_us"] = micros[micros.size() * 99 / 100];
  state.counters["p99.99_us"] = micros[micros.size() * 9999 / 10000];
  state.counters["max_us"] = micros.back();
}
BENCHMARK(BM_OneUser)
    ->ArgName("names")
    ->Arg(20)
    ->Arg(1)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(4);

// What a change of definitions costs the stream between two steps: all of them compiled anew.
void BM_Compile(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const bench::Workload workload(segments / 2, 1, segments / 5, segments / 2);
  std::vector<ActiveSegment> active;
  for (size_t i = 0; i < workload.segments().size(); ++i) {
    active.push_back({.slot = static_cast<Slot>(i), .segment = workload.segments()[i]});
  }
  for (auto _ : state) benchmark::DoNotOptimize(RuleSet::Compile(active));
}
BENCHMARK(BM_Compile)->ArgName("segments")->Arg(100)->Arg(2500)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
