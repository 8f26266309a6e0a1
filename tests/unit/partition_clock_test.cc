#include "stream/partition_clock.h"

#include <gtest/gtest.h>

namespace segmentd {
namespace {

constexpr Duration kGrace = Duration::Seconds(1);
constexpr Time At(int64_t ms) {
  return Time::Millis(ms);
}

TEST(PartitionClock, KnowsNoTimeBeforeTheFirstRecord) {
  EXPECT_EQ(PartitionClock(kGrace).now(), Time::Min());
}

TEST(PartitionClock, IsTheNewestRecordTimeMinusTheGrace) {
  PartitionClock clock(kGrace);
  EXPECT_TRUE(clock.read(At(10'000), At(50'000)));
  EXPECT_EQ(clock.now(), At(9'000));
  EXPECT_TRUE(clock.read(At(12'500), At(50'000)));
  EXPECT_EQ(clock.now(), At(11'500));
}

TEST(PartitionClock, DoesNotGoBackWithAnOlderRecord) {
  PartitionClock clock(kGrace);
  clock.read(At(12'000), At(50'000));
  EXPECT_TRUE(clock.read(At(3'000), At(50'000)));
  EXPECT_EQ(clock.now(), At(11'000));
  EXPECT_EQ(clock.newest_record(), At(12'000));
}

TEST(PartitionClock, FollowsTheWallClockWhenCaughtUp) {
  PartitionClock clock(kGrace);
  clock.read(At(10'000), At(20'000));
  clock.caught_up(At(20'000));
  EXPECT_EQ(clock.now(), At(19'000));
  clock.caught_up(At(18'000));
  EXPECT_EQ(clock.now(), At(19'000));
}

TEST(PartitionClock, MovesOnlyToTheWallClockForARecordAheadOfIt) {
  PartitionClock clock(kGrace);
  EXPECT_TRUE(clock.read(At(20'000), At(20'000)));
  EXPECT_FALSE(clock.read(At(99'000), At(30'000)));
  EXPECT_EQ(clock.now(), At(29'000));
  EXPECT_EQ(clock.newest_record(), At(99'000));
}

TEST(PartitionClock, GoesOnFromWhereItWasRecorded) {
  PartitionClock clock(kGrace);
  clock.restore(At(19'000), At(10'000));
  EXPECT_EQ(clock.now(), At(19'000));
  clock.read(At(15'000), At(40'000));
  EXPECT_EQ(clock.now(), At(19'000));
  clock.read(At(21'000), At(40'000));
  EXPECT_EQ(clock.now(), At(20'000));
}

}  // namespace
}  // namespace segmentd
