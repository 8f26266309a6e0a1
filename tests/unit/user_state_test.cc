#include "segment/user_state.h"

#include <set>

#include "gtest/gtest.h"

namespace segmentd {
namespace {

SegmentState Segment(Slot slot, bool member) {
  return {.slot = slot, .version = 1, .member = member};
}

TEST(UserState, FindsASegmentBySlot) {
  UserState user;
  EXPECT_EQ(user.present.segments.find(0), nullptr);
  EXPECT_FALSE(IsMember(user, 0));
  user.present.segments = {Segment(1, true), Segment(4, false), Segment(9, true)};
  for (Slot slot = 0; slot < 12; ++slot) {
    const SegmentState* found = user.present.segments.find(slot);
    const bool there = slot == 1 || slot == 4 || slot == 9;
    ASSERT_EQ(found != nullptr, there) << slot;
    if (there) {
      EXPECT_EQ(found->slot, slot);
    }
    EXPECT_EQ(IsMember(user, slot), slot == 1 || slot == 9) << slot;
  }
}

TEST(UserState, HashTellsMembershipsAndDeadlinesApart) {
  std::set<uint64_t> hashes;
  auto fresh = [&hashes](const UserState& user) { return hashes.insert(StateHash(user)).second; };
  UserState user;
  EXPECT_TRUE(fresh(user));
  user.present.segments = {Segment(1, true)};
  EXPECT_TRUE(fresh(user));
  user.present.segments = {Segment(2, true)};
  EXPECT_TRUE(fresh(user));
  user.present.segments = {Segment(1, true), Segment(2, true)};
  EXPECT_TRUE(fresh(user));
  user.next_deadline = Time::Millis(5);
  EXPECT_TRUE(fresh(user));
  user.next_deadline = Time::Millis(6);
  EXPECT_TRUE(fresh(user));
}

TEST(UserState, HashIgnoresWhatIsNoMembership) {
  UserState user;
  user.present.segments = {Segment(1, true)};
  const uint64_t hash = StateHash(user);
  user.now = Time::Millis(99);
  user.decided = Time::Millis(98);
  user.newest_event = Time::Millis(97);
  user.facts.push_back({});
  user.present.segments.put(Segment(7, false));
  EXPECT_EQ(StateHash(user), hash);
}

TEST(UserState, HashIsTheSameInEveryBuild) {
  UserState user;
  user.present.segments = {Segment(1, true), Segment(2, false), Segment(77, true)};
  user.next_deadline = Time::Millis(1'790'000'000'000);
  EXPECT_EQ(StateHash(user), 8302411046640145632u);
}

}  // namespace
}  // namespace segmentd
