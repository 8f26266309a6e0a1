// The engine alone, in memory: events/s of one thread at 1, 100, 1,000 and 2,500 segments, 200,000
// users.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "bench/workload.h"
#include "segment/engine.h"

namespace segmentd {
namespace {

constexpr int kUsers = 200'000;
// As many event names as keep the changes an event about the same: 20 for up to 100 segments.
constexpr int64_t kEvents = 1'000'000;
constexpr int64_t kStart = 1'790'000'000'000;
// 100 s of event time for the whole run.
constexpr int64_t kEventsPerMilli = 10;

struct Prepared {
  std::string name;
  std::string message_id;
  std::string category;
  double amount;
  size_t user;
};

void BM_Engine(benchmark::State& state) {
  const auto segments = static_cast<int>(state.range(0));
  const bench::Workload workload(segments, kUsers, std::max(20, segments / 5));
  std::vector<ActiveSegment> active;
  for (size_t i = 0; i < workload.segments().size(); ++i) {
    active.push_back({static_cast<Slot>(i), workload.segments()[i], Offset(0), Time(), false});
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
  }
  int64_t changes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    Engine engine(rules, Settings());
    std::vector<UserState> users(kUsers);
    Changes out;
    changes = 0;
    state.ResumeTiming();
    for (int64_t i = 0; i < kEvents; ++i) {
      const Prepared& e = events[static_cast<size_t>(i)];
      // As a task does with a batch.
      const auto ahead = static_cast<size_t>(i);
      if (i + 16 < kEvents) {
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
      event.message_id = e.message_id;
      event.properties = absl::MakeConstSpan(properties, n);
      out.clear();
      engine.apply(event, Time::Min(), users[e.user], out);
      changes += static_cast<int64_t>(out.size());
    }
  }
  state.SetItemsProcessed(state.iterations() * kEvents);
  state.counters["changes/event"] = static_cast<double>(changes) / static_cast<double>(kEvents);
  state.counters["atoms"] = static_cast<double>(rules->atoms());
}
BENCHMARK(BM_Engine)->Arg(1)->Arg(100)->Arg(1000)->Arg(2500)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
