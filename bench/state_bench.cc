// The parts of a task's state: images, the store, the timing wheel.
//
// Arguments are numbers of users. "Cold" goes over the users at random, so that they come from
// memory, as a stream of events does.

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "state/timing_wheel.h"
#include "state/user_codec.h"
#include "state/user_store.h"

namespace segmentd {
namespace {

constexpr int64_t kNow = 1'790'000'000'000;

Time At(int64_t ms) {
  return Time::Millis(kNow + ms);
}

// Two memberships, one pending, three facts, three message IDs.
UserState TypicalUser() {
  UserState user;
  user.newest_event = At(0);
  user.exists_since = At(-86'400'000);
  user.now = At(0);
  user.decided = At(-60'000);
  user.next_deadline = At(600'000);
  user.facts = {{{At(-2000), Offset(81'000)}, 0x1122334455667788, 0},
                {{At(0), Offset(81'734)}, 0x99aabbccddeeff00, 0},
                {{At(0), Offset(81'734)}, 0x0102030405060708, 0xa5}};
  user.seen = {{0x1111, At(-2000)}, {0x2222, At(10)}, {3, At(12)}};
  user.present.segments = {
      {.slot = 3, .version = 1, .member = true, .since = At(-2000), .cause_at = At(-2000)},
      {.slot = 7,
       .version = 1,
       .memory = Memory{.occurrences = {{.at = At(0), .due = At(600'000)}}}},
      {.slot = 300, .version = 1, .member = true, .since = At(-60'000), .cause_at = At(-60'000)}};
  return user;
}

// The same with a base and ten properties.
UserState UserWithProfile() {
  UserState user = TypicalUser();
  std::vector<Profile::Property> properties;
  properties.reserve(10);
  for (int i = 0; i < 10; ++i) {
    properties.push_back({"property_" + std::to_string(i),
                          OwnedValue(Value::String("value " + std::to_string(i))),
                          {At(-1000), Offset(5)},
                          {At(-1000), Offset(5)}});
  }
  user.present.profile = Profile::Restore(properties);
  user.base = std::make_unique<Base>(Base{user.present});
  user.base->segments.erase(300);
  return user;
}

void Encode(benchmark::State& state, const UserState& user) {
  std::string image;
  for (auto _ : state) {
    image.clear();
    AppendUserImage(user, Offset(81'735), &image);
    benchmark::DoNotOptimize(image.data());
  }
  state.counters["bytes"] = static_cast<double>(image.size());
}
void EncodeTypical(benchmark::State& state) {
  Encode(state, TypicalUser());
}
BENCHMARK(EncodeTypical);
void EncodeWithProfile(benchmark::State& state) {
  Encode(state, UserWithProfile());
}
BENCHMARK(EncodeWithProfile);

void Decode(benchmark::State& state, const UserState& user) {
  std::string image;
  AppendUserImage(user, Offset(81'735), &image);
  for (auto _ : state) {
    UserState read;
    Offset included;
    benchmark::DoNotOptimize(ParseUserImage(image, &read, &included).ok());
  }
}
void DecodeTypical(benchmark::State& state) {
  Decode(state, TypicalUser());
}
BENCHMARK(DecodeTypical);
void DecodeWithProfile(benchmark::State& state) {
  Decode(state, UserWithProfile());
}
BENCHMARK(DecodeWithProfile);

// As UUIDs are long.
std::string Id(int64_t i) {
  std::string digits = std::to_string(i * 7919);
  return "a6bd54a2-18c3-4c9f-a2d0-" + std::string(12 - digits.size(), '0') + digits;
}

struct Users {
  explicit Users(int64_t count) {
    std::mt19937_64 random(1);
    for (int64_t i = 0; i < count; ++i) store.find_or_create(Id(i)).state = TypicalUser();
    for (size_t i = 0; i < size_t{1} << 20; ++i) {
      ids.push_back(Id(static_cast<int64_t>(random() % static_cast<uint64_t>(count))));
    }
  }
  UserStore store;
  // In the order of their events.
  std::vector<std::string> ids;
};

// What evaluating an event touches at least.
int64_t Touch(StoredUser& user, int64_t offset) {
  UserState& state = user.state;
  state.newest_event = Time::Millis(offset);
  return state.facts.back().order.offset.value() + state.present.segments[0].slot +
         static_cast<int64_t>(state.seen.back().id);
}

void LookUpCold(benchmark::State& state) {
  Users users(state.range(0));
  size_t i = 0;
  for (auto _ : state) {
    const std::string& id = users.ids[i++ % users.ids.size()];
    benchmark::DoNotOptimize(
        Touch(*users.store.find(UserStore::Hash(id), id), static_cast<int64_t>(i)));
  }
}
BENCHMARK(LookUpCold)->Arg(1000)->Arg(200'000)->Arg(1'000'000);

void LookUpColdWithPrefetch(benchmark::State& state) {
  constexpr size_t kBatch = 512;
  Users users(state.range(0));
  std::vector<uint64_t> hashes(kBatch + 16);
  size_t i = 0;
  while (state.KeepRunningBatch(kBatch)) {
    if (i + kBatch > users.ids.size()) i = 0;
    for (size_t k = 0; k < kBatch; ++k) hashes[k] = UserStore::Hash(users.ids[i + k]);
    for (size_t k = 0; k < kBatch; ++k, ++i) {
      users.store.prefetch(hashes[k + 16]);
      users.store.prefetch_user(hashes[k + 8]);
      users.store.prefetch_state(hashes[k + 4]);
      benchmark::DoNotOptimize(
          Touch(*users.store.find(hashes[k], users.ids[i]), static_cast<int64_t>(i)));
    }
  }
}
BENCHMARK(LookUpColdWithPrefetch)->Arg(1000)->Arg(200'000)->Arg(1'000'000);

void CreateUsers(benchmark::State& state) {
  std::vector<std::string> ids;
  for (int64_t i = 0; i < state.range(0); ++i) ids.push_back(Id(i));
  for (auto _ : state) {
    UserStore store;
    for (const std::string& id : ids) store.find_or_create(id);
    benchmark::DoNotOptimize(store.size());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(CreateUsers)->Arg(200'000)->Unit(benchmark::kMillisecond);

// Users armed at random up to a day ahead, as events come.
void WheelArm(benchmark::State& state) {
  const auto users = static_cast<UserIndex>(state.range(0));
  std::mt19937_64 random(1);
  std::vector<std::pair<UserIndex, Time>> steps(users);
  for (auto& [user, deadline] : steps) {
    user = static_cast<UserIndex>(random() % users);
    deadline = At(static_cast<int64_t>(random() % 86'400'000));
  }
  std::vector<TimingWheel::Due> due;
  for (auto _ : state) {
    state.PauseTiming();
    TimingWheel wheel;
    wheel.arm(users - 1, At(86'400'001));
    wheel.take(At(-1), 0, &due);
    state.ResumeTiming();
    for (const auto& [user, deadline] : steps) wheel.arm(user, deadline);
    benchmark::DoNotOptimize(wheel.size());
  }
  state.SetItemsProcessed(state.iterations() * users);
}
BENCHMARK(WheelArm)->Arg(1000)->Arg(200'000)->Arg(1'000'000);

// A clock that goes by 10 ms; each deadline that comes out is armed again up to ten minutes ahead.
void WheelTurn(benchmark::State& state) {
  const auto users = static_cast<UserIndex>(state.range(0));
  std::mt19937_64 random(1);
  auto ahead = [&random] { return static_cast<int64_t>(random() % 600'000); };
  TimingWheel wheel;
  for (UserIndex user = 0; user < users; ++user) wheel.arm(user, At(ahead()));
  std::vector<TimingWheel::Due> due;
  int64_t now = 0;
  int64_t taken = 0;
  for (auto _ : state) {
    now += 10;
    due.clear();
    wheel.take(At(now), 100'000, &due);
    for (const auto& d : due) wheel.arm(d.user, At(now + 1 + ahead()));
    taken += static_cast<int64_t>(due.size());
  }
  state.SetItemsProcessed(taken);
}
BENCHMARK(WheelTurn)->Arg(200'000)->Arg(1'000'000);

// All users due at one moment.
void WheelOneMoment(benchmark::State& state) {
  const auto users = static_cast<UserIndex>(state.range(0));
  std::vector<TimingWheel::Due> due;
  for (auto _ : state) {
    state.PauseTiming();
    TimingWheel wheel;
    wheel.take(At(-3'600'000), 0, &due);
    for (UserIndex user = 0; user < users; ++user) wheel.arm(user, At(0));
    state.ResumeTiming();
    do {
      due.clear();
    } while (!wheel.take(At(0), 1000, &due));
  }
  state.SetItemsProcessed(state.iterations() * users);
}
BENCHMARK(WheelOneMoment)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace segmentd
