// The specification's invariants, over random definitions and histories.

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/property/check.h"
#include "tests/property/invariants.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

// The histories are worth running: all that can be told is, all that can become of an event does.
TEST(Histories, HaveEverything) {
  std::set<pb::Reason> reasons;
  std::set<Outcome> outcomes;
  bool base = false;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const History history =
        Generate(seed, {.edits = true, .duplicates = true, .little_lateness = true});
    Playback run(history.settings, history.users);
    for (size_t i = 0; i < history.items.size(); ++i) {
      const auto step = run.step(history.items[i]);
      if (step.outcome.has_value()) outcomes.insert(*step.outcome);
      for (const auto& all : step.told) {
        for (const Told& told : all) reasons.insert(told.reason);
      }
    }
    for (int u = 0; u < history.users; ++u) base = base || run.user(u).base_time() != Time::Min();
  }
  EXPECT_THAT(reasons,
              testing::UnorderedElementsAre(pb::TRIGGER, pb::INACTION, pb::EXPIRED, pb::EXIT_EVENT,
                                            pb::LATE_EVENT, pb::SEGMENT_DELETED));
  EXPECT_EQ(outcomes.size(), 4u);
  EXPECT_TRUE(base);
}

TEST(Membership, InOrderTheChangesAreFs) {
  Check({.in_order = true}, 1500, InOrderWrong);
}

TEST(Membership, InOrderAcrossEdits) {
  Check({.in_order = true, .edits = true}, 1000, InOrderWrong);
}

TEST(Membership, OutOfOrder) {
  Check({}, 2000, Difference);
}

TEST(Membership, OutOfOrderWithDuplicates) {
  Check({.duplicates = true}, 1000, Difference);
}

TEST(Membership, OutOfOrderAcrossEdits) {
  Check({.edits = true, .duplicates = true}, 1500, Difference);
}

TEST(Membership, WithProducerTimes) {
  Check({.edits = true, .producer_times = true, .filters = true}, 1500, Difference);
}

TEST(Membership, LongHistories) {
  Check({.duplicates = true, .most_records = 120}, 60, Difference);
}

TEST(Membership, OutOfOrderWithFilters) {
  Check({.edits = true, .filters = true}, 1000, Difference);
}

TEST(Membership, WithLittleLateness) {
  Check({.filters = true, .little_lateness = true}, 1500, Difference);
}

TEST(Membership, LongHistoriesWithLittleLateness) {
  Check({.filters = true, .little_lateness = true, .most_records = 100}, 100, Difference);
}

TEST(Membership, ShuffledEndsInTheSame) {
  Check({.never_too_late = true}, 2000, ShuffledWrong);
}

TEST(Membership, TheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true}, 1500, ReplayWrong);
}

TEST(Membership, TheStateIsAFunctionOfOffsetAndClockAcrossEdits) {
  Check({.edits = true, .duplicates = true}, 1000, ReplayWrong);
}

TEST(Membership, FewFacts) {
  Check({.edits = true, .duplicates = true, .filters = true, .most_records = 150}, 200,
        FewFactsWrong);
}

TEST(Membership, WithFewFactsTheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true, .filters = true, .most_records = 150}, 40,
        [](const History& history) { return ReplayWrong(Tight(history)); });
}

}  // namespace
}  // namespace segmentd::property
