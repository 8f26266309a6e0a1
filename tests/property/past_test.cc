// Past behaviour, dates and sequences: the same invariants as of live segments.

#include <string>

#include "gtest/gtest.h"

#include "tests/property/check.h"
#include "tests/property/invariants.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

// What `shape` says, of histories with all kinds of segments.
Shape OfAllKinds(Shape shape) {
  shape.past = shape.live = shape.dates = shape.sequences = true;
  return shape;
}

TEST(Definitions, CanBeRun) {
  Check(OfAllKinds({.edits = true}), 300,
        [](const History& history) { return CanRun(history) ? "" : "a definition can't be run"; });
}

TEST(PastBehavior, InOrder) {
  Check({.in_order = true, .past = true}, 1000, Difference);
}

TEST(PastBehavior, OutOfOrder) {
  Check({.past = true}, 1500, Difference);
}

TEST(PastBehavior, OutOfOrderWithDuplicates) {
  Check({.duplicates = true, .past = true}, 1000, Difference);
}

TEST(Sequences, InOrder) {
  Check({.in_order = true, .sequences = true}, 1000, Difference);
}

TEST(Sequences, OutOfOrder) {
  Check({.duplicates = true, .sequences = true}, 1000, Difference);
}

TEST(Dates, InOrder) {
  Check({.in_order = true, .dates = true}, 1000, Difference);
}

TEST(Dates, OutOfOrder) {
  Check({.duplicates = true, .dates = true}, 1000, Difference);
}

TEST(LiveOfThePast, InOrder) {
  Check({.in_order = true, .past = true, .live = true}, 1000, Difference);
}

TEST(LiveOfThePast, OutOfOrder) {
  Check({.duplicates = true, .past = true, .live = true}, 1000, Difference);
}

TEST(AllKinds, OutOfOrder) {
  Check(OfAllKinds({.duplicates = true}), 1000, Difference);
}

TEST(AllKinds, WithLittleLateness) {
  Check(OfAllKinds({.duplicates = true, .little_lateness = true}), 1000, Difference);
}

TEST(AllKinds, InOrder) {
  Check(OfAllKinds({.in_order = true}), 1000, InOrderWrong);
}

TEST(AllKinds, WithProducerTimes) {
  Check(OfAllKinds({.producer_times = true}), 1000, Difference);
}

TEST(AllKinds, LongHistories) {
  Check(OfAllKinds({.duplicates = true, .most_records = 120}), 60, Difference);
}

TEST(AllKinds, LongHistoriesWithLittleLateness) {
  Check(OfAllKinds({.little_lateness = true, .most_records = 120}), 60, Difference);
}

TEST(AllKinds, ShuffledEndsInTheSame) {
  Check(OfAllKinds({.never_too_late = true}), 1000, ShuffledWrong);
}

TEST(AllKinds, TheStateIsAFunctionOfOffsetAndClock) {
  Check(OfAllKinds({.duplicates = true}), 1000, ReplayWrong);
}

TEST(AllKinds, FewFacts) {
  Check(OfAllKinds({.duplicates = true, .most_records = 150}), 100, FewFactsWrong);
}

TEST(AllKinds, WithFewFactsTheStateIsAFunctionOfOffsetAndClock) {
  Check(OfAllKinds({.duplicates = true, .most_records = 150}), 40,
        [](const History& history) { return ReplayWrong(Tight(history)); });
}

TEST(PastBehavior, InOrderAcrossEdits) {
  Check({.in_order = true, .edits = true, .past = true}, 1000, Difference);
}

TEST(PastBehavior, OutOfOrderAcrossEdits) {
  Check({.edits = true, .duplicates = true, .past = true}, 1500, Difference);
}

TEST(Sequences, AcrossEdits) {
  Check({.edits = true, .sequences = true}, 1000, Difference);
}

TEST(Dates, InOrderAcrossEdits) {
  Check({.in_order = true, .edits = true, .dates = true}, 1000, Difference);
}

TEST(Dates, AcrossEdits) {
  Check({.edits = true, .dates = true}, 1000, Difference);
}

TEST(AllKinds, InOrderAcrossEdits) {
  Check(OfAllKinds({.in_order = true, .edits = true}), 1000, Difference);
}

TEST(AllKinds, AcrossEdits) {
  Check(OfAllKinds({.edits = true, .duplicates = true}), 4000, Difference);
}

// Bases move on past what a history has apart.
TEST(AllKinds, LongHistoriesWithLittleLatenessAcrossEdits) {
  const Shape shape =
      OfAllKinds({.edits = true, .duplicates = true, .little_lateness = true, .most_records = 120});
  Check(shape, 60, Difference);
  Check(shape, 60, ReplayWrong);
}

TEST(AllKinds, AcrossRemovals) {
  Check(OfAllKinds({.edits = true, .removals = true, .most_records = 60}), 2000, Difference);
}

TEST(LiveOfThePast, AcrossRemovals) {
  Check({.edits = true, .removals = true, .most_records = 60, .past = true, .live = true}, 2000,
        Difference);
}

// Changes of the definitions that neither the clock nor a user's now tells apart.
TEST(LiveOfThePast, AcrossRemovalsWithEventsAhead) {
  Check({.edits = true,
         .removals = true,
         .duplicates = true,
         .ahead = true,
         .past = true,
         .live = true},
        2000, Difference);
}

TEST(AllKinds, TheStateIsAFunctionOfOffsetAndClockAcrossEdits) {
  Check(OfAllKinds({.edits = true, .duplicates = true}), 1000, ReplayWrong);
}

TEST(AllKinds, TheStateIsAFunctionOfOffsetAndClockAcrossRemovals) {
  Check(OfAllKinds({.edits = true, .removals = true}), 1000, ReplayWrong);
}

}  // namespace
}  // namespace segmentd::property
