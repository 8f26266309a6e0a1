#include "state/timing_wheel.h"

#include <rapidcheck.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rapidcheck/gtest.h"

namespace segmentd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr size_t kAll = std::numeric_limits<size_t>::max();

Time At(int64_t ms) {
  return Time::Millis(ms);
}

std::vector<TimingWheel::Due> Take(TimingWheel& wheel, int64_t until, size_t limit = kAll) {
  std::vector<TimingWheel::Due> due;
  wheel.take(At(until), limit, &due);
  return due;
}

TEST(TimingWheel, TakesWhatIsDueInOrder) {
  TimingWheel wheel;
  EXPECT_EQ(wheel.next(), Time::Max());
  wheel.arm(1, At(5000));
  wheel.arm(2, At(100));
  wheel.arm(3, At(5001));
  EXPECT_EQ(wheel.size(), 3u);
  EXPECT_EQ(wheel.armed(1), At(5000));
  EXPECT_EQ(wheel.armed(9), Time::Max());
  EXPECT_THAT(Take(wheel, 99), IsEmpty());
  EXPECT_THAT(Take(wheel, 5000),
              ElementsAre(TimingWheel::Due{At(100), 2}, TimingWheel::Due{At(5000), 1}));
  EXPECT_EQ(wheel.armed(1), Time::Max());
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_THAT(Take(wheel, 5001), ElementsAre(TimingWheel::Due{At(5001), 3}));
  EXPECT_EQ(wheel.next(), Time::Max());
}

TEST(TimingWheel, AUserHasTheEarliestOfItsDeadlines) {
  TimingWheel wheel;
  wheel.arm(1, At(5000));
  wheel.arm(1, At(9000));
  wheel.arm(1, At(70));
  wheel.arm(1, At(100'000'000'000));
  wheel.arm(1, Time::Max());
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_THAT(Take(wheel, 200'000'000'000), ElementsAre(TimingWheel::Due{At(70), 1}));
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimingWheel, APassedDeadlineIsDueAtOnce) {
  TimingWheel wheel;
  EXPECT_THAT(Take(wheel, 1000), IsEmpty());
  wheel.arm(1, At(1000));
  wheel.arm(2, At(900));
  wheel.arm(3, At(-5));
  wheel.arm(4, At(1001));
  wheel.arm(2, At(800));
  EXPECT_LE(wheel.next(), At(-5));
  EXPECT_THAT(Take(wheel, 1001),
              ElementsAre(TimingWheel::Due{At(-5), 3}, TimingWheel::Due{At(800), 2},
                          TimingWheel::Due{At(1000), 1}, TimingWheel::Due{At(1001), 4}));
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_THAT(Take(wheel, 2000), IsEmpty());
}

TEST(TimingWheel, ExtremesComeOut) {
  TimingWheel wheel;
  wheel.arm(1, Time::Min());
  wheel.arm(2, At(std::numeric_limits<int64_t>::max() - 1));
  wheel.arm(3, Time::Max());
  EXPECT_EQ(wheel.size(), 2u);
  EXPECT_THAT(Take(wheel, 0), ElementsAre(TimingWheel::Due{Time::Min(), 1}));
  EXPECT_GT(wheel.next(), At(0));
  EXPECT_THAT(Take(wheel, std::numeric_limits<int64_t>::max() - 1).size(), 1u);
  EXPECT_EQ(wheel.next(), Time::Max());
}

TEST(TimingWheel, AMomentIsCutByTheLimit) {
  TimingWheel wheel;
  constexpr UserIndex kUsers = 100'000;
  for (UserIndex user = 0; user < kUsers; ++user) wheel.arm(user, At(1'790'000'000'000));
  std::vector<TimingWheel::Due> due;
  int takes = 0;
  while (!wheel.take(At(1'790'000'000'000), 1000, &due)) {
    ++takes;
    ASSERT_EQ(due.size(), static_cast<size_t>(takes) * 1000);
    ASSERT_EQ(wheel.size(), kUsers - due.size());
  }
  EXPECT_EQ(due.size(), kUsers);
  std::vector<bool> seen(kUsers);
  for (const auto& d : due) {
    EXPECT_FALSE(seen[d.user]);
    seen[d.user] = true;
  }
  EXPECT_FALSE(wheel.take(At(1'790'000'000'001), 0, &due) && wheel.size() > 0);
}

TEST(TimingWheel, MemoryIsBoundedByTheUsers) {
  TimingWheel wheel;
  for (UserIndex user = 0; user < 100; ++user) wheel.arm(user, At(1'000'000));
  const size_t bytes = wheel.bytes();
  std::vector<TimingWheel::Due> due;
  // A far deadline and a near one, again and again.
  for (int64_t now = 0; now < 100'000; ++now) {
    const UserIndex user = static_cast<UserIndex>(now % 100);
    wheel.arm(user, At(now + 1));
    wheel.take(At(now + 1), kAll, &due);
    wheel.arm(user, At(1'000'000'000 + now));
  }
  EXPECT_EQ(wheel.size(), 100u);
  EXPECT_EQ(wheel.bytes(), bytes);
}

// The same, by a multimap.
class Model {
 public:
  void arm(UserIndex user, Time deadline) {
    if (deadline >= armed(user)) return;
    if (auto known = users_.find(user); known != users_.end()) deadlines_.erase(known->second);
    users_[user] = deadlines_.emplace(deadline, user);
  }
  Time armed(UserIndex user) const {
    auto at = users_.find(user);
    return at == users_.end() ? Time::Max() : at->second->first;
  }
  Time next() const { return deadlines_.empty() ? Time::Max() : deadlines_.begin()->first; }
  size_t size() const { return users_.size(); }
  size_t due(Time until) const {
    return static_cast<size_t>(std::distance(deadlines_.begin(), deadlines_.upper_bound(until)));
  }
  void remove(UserIndex user) {
    deadlines_.erase(users_.at(user));
    users_.erase(user);
  }

 private:
  std::multimap<Time, UserIndex> deadlines_;
  std::map<UserIndex, std::multimap<Time, UserIndex>::iterator> users_;
};

RC_GTEST_PROP(TimingWheel, IsAMultimap, (uint64_t seed)) {
  std::mt19937_64 random(seed);
  auto below = [&random](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  // From one slot of a level to years.
  const int64_t span = int64_t{1} << below(41);
  int64_t now = below(2) == 0 ? 0 : 1'790'000'000'000 - below(span);
  TimingWheel wheel;
  Model model;
  for (int step = 0; step < 300; ++step) {
    if (below(3) > 0) {
      const auto user = static_cast<UserIndex>(below(60));
      // Some are passed, some at one moment.
      const Time deadline = At(below(4) == 0 ? now + span / 2 : now + below(span) - span / 8);
      wheel.arm(user, deadline);
      model.arm(user, deadline);
      RC_ASSERT(wheel.armed(user) == model.armed(user));
    } else {
      now += below(3) == 0 ? below(span) : below(span / 16 + 2);
      const auto limit = static_cast<size_t>(below(2) == 0 ? 1000 : below(6));
      std::vector<TimingWheel::Due> due;
      const bool all = wheel.take(At(now), limit, &due);
      RC_ASSERT(due.size() == std::min(limit, model.due(At(now))));
      for (const auto& d : due) {
        // Ascending: no other is earlier.
        RC_ASSERT(d.deadline == model.next());
        RC_ASSERT(d.deadline == model.armed(d.user));
        model.remove(d.user);
      }
      RC_ASSERT(all == (model.due(At(now)) == 0));
    }
    RC_ASSERT(wheel.size() == model.size());
    RC_ASSERT(wheel.next() <= model.next());
    RC_ASSERT((wheel.next() == Time::Max()) == (model.size() == 0));
  }
}

// Following next() as a clock finds every deadline, in few steps each.
RC_GTEST_PROP(TimingWheel, NextLeadsToEveryDeadline, (uint64_t seed)) {
  std::mt19937_64 random(seed);
  TimingWheel wheel;
  std::vector<Time> expected;
  Take(wheel, 1'790'000'000'000);
  for (UserIndex user = 0; user < 50; ++user) {
    expected.push_back(At(1'790'000'000'000 + static_cast<int64_t>(random() >> 24)));
    wheel.arm(user, expected.back());
  }
  std::sort(expected.begin(), expected.end());
  std::vector<TimingWheel::Due> due;
  int steps = 0;
  while (wheel.size() > 0) {
    wheel.take(wheel.next(), kAll, &due);
    RC_ASSERT(++steps <= 50 * 8);
  }
  std::vector<Time> taken;
  taken.reserve(due.size());
  for (const auto& d : due) taken.push_back(d.deadline);
  RC_ASSERT(taken == expected);
}

}  // namespace
}  // namespace segmentd
