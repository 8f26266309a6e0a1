#include "segment/turns.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace segmentd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<uint32_t> TakeAll(Turns& turns) {
  std::vector<uint32_t> taken;
  for (uint32_t rank = 0; turns.take(&rank);) taken.push_back(rank);
  return taken;
}

TEST(Turns, AreTakenLowestFirstAndEachOnce) {
  Turns turns(2500);
  for (const uint32_t rank : {2499, 64, 63, 0, 64, 700, 2499}) turns.add(rank);
  EXPECT_THAT(TakeAll(turns), ElementsAre(0, 63, 64, 700, 2499));
  EXPECT_THAT(TakeAll(turns), IsEmpty());
}

TEST(Turns, MayBeAddedToWhileTheyAreTaken) {
  Turns turns(200);
  uint32_t rank = 0;
  turns.add(3);
  ASSERT_TRUE(turns.take(&rank));
  EXPECT_EQ(rank, 3u);
  turns.add(199);
  turns.add(4);
  EXPECT_THAT(TakeAll(turns), ElementsAre(4, 199));
  // After the last was taken, anything may come again.
  turns.add(0);
  EXPECT_THAT(TakeAll(turns), ElementsAre(0));
}

TEST(Turns, NoneOfNone) {
  Turns turns(0);
  uint32_t rank = 0;
  EXPECT_FALSE(turns.take(&rank));
}

}  // namespace
}  // namespace segmentd
