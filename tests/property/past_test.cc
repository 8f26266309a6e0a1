// Past behaviour, dates and sequences: the same invariants as of live segments.

#include <functional>
#include <string>

#include "gtest/gtest.h"

#include "tests/property/check.h"
#include "tests/property/invariants.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

void Compare(const Shape& shape, int cases,
             const std::function<std::string(const History&)>& wrong = Difference) {
  Check(shape, cases, wrong);
}

TEST(Definitions, CanBeRun) {
  Check({.edits = true, .past = true, .live = true, .dates = true, .sequences = true}, 300,
        [](const History& history) { return CanRun(history) ? "" : "a definition can't be run"; });
}

TEST(PastBehavior, InOrder) {
  Compare({.in_order = true, .past = true}, 1000);
}

TEST(PastBehavior, OutOfOrder) {
  Compare({.past = true}, 1500);
}

TEST(PastBehavior, OutOfOrderWithDuplicates) {
  Compare({.duplicates = true, .past = true}, 1000);
}

TEST(Sequences, InOrder) {
  Compare({.in_order = true, .sequences = true}, 1000);
}

TEST(Sequences, OutOfOrder) {
  Compare({.duplicates = true, .sequences = true}, 1000);
}

TEST(Dates, InOrder) {
  Compare({.in_order = true, .dates = true}, 1000);
}

TEST(Dates, OutOfOrder) {
  Compare({.duplicates = true, .dates = true}, 1000);
}

TEST(LiveOfThePast, InOrder) {
  Compare({.in_order = true, .past = true, .live = true}, 1000);
}

TEST(LiveOfThePast, OutOfOrder) {
  Compare({.duplicates = true, .past = true, .live = true}, 1000);
}

TEST(AllKinds, OutOfOrder) {
  Compare({.duplicates = true, .past = true, .live = true, .dates = true, .sequences = true}, 1000);
}

TEST(AllKinds, WithLittleLateness) {
  Compare({.duplicates = true,
           .little_lateness = true,
           .past = true,
           .live = true,
           .dates = true,
           .sequences = true},
          1000);
}

TEST(AllKinds, InOrder) {
  Compare({.in_order = true, .past = true, .live = true, .dates = true, .sequences = true}, 1000,
          InOrderWrong);
}

TEST(AllKinds, WithProducerTimes) {
  Compare({.producer_times = true, .past = true, .live = true, .dates = true, .sequences = true},
          1000);
}

TEST(AllKinds, LongHistories) {
  Compare({.duplicates = true,
           .most_records = 120,
           .past = true,
           .live = true,
           .dates = true,
           .sequences = true},
          60);
}

TEST(AllKinds, LongHistoriesWithLittleLateness) {
  Compare({.little_lateness = true,
           .most_records = 120,
           .past = true,
           .live = true,
           .dates = true,
           .sequences = true},
          60);
}

TEST(AllKinds, ShuffledEndsInTheSame) {
  Check({.never_too_late = true, .past = true, .live = true, .dates = true, .sequences = true},
        1000, ShuffledWrong);
}

TEST(AllKinds, TheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true, .past = true, .live = true, .dates = true, .sequences = true}, 1000,
        ReplayWrong);
}

TEST(AllKinds, FewFacts) {
  Check({.duplicates = true,
         .most_records = 150,
         .past = true,
         .live = true,
         .dates = true,
         .sequences = true},
        100, FewFactsWrong);
}

TEST(AllKinds, WithFewFactsTheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true,
         .most_records = 150,
         .past = true,
         .live = true,
         .dates = true,
         .sequences = true},
        40, [](const History& history) { return ReplayWrong(Tight(history)); });
}

TEST(PastBehavior, InOrderAcrossEdits) {
  Compare({.in_order = true, .edits = true, .past = true}, 1000);
}

TEST(PastBehavior, OutOfOrderAcrossEdits) {
  Compare({.edits = true, .duplicates = true, .past = true}, 1500);
}

TEST(Sequences, AcrossEdits) {
  Compare({.edits = true, .sequences = true}, 1000);
}

TEST(Dates, InOrderAcrossEdits) {
  Compare({.in_order = true, .edits = true, .dates = true}, 1000);
}

TEST(Dates, AcrossEdits) {
  Compare({.edits = true, .dates = true}, 1000);
}

TEST(AllKinds, InOrderAcrossEdits) {
  Compare({.in_order = true,
           .edits = true,
           .past = true,
           .live = true,
           .dates = true,
           .sequences = true},
          1000);
}

TEST(AllKinds, AcrossEdits) {
  Compare({.edits = true,
           .duplicates = true,
           .past = true,
           .live = true,
           .dates = true,
           .sequences = true},
          1500);
}

TEST(AllKinds, TheStateIsAFunctionOfOffsetAndClockAcrossEdits) {
  Check({.edits = true,
         .duplicates = true,
         .past = true,
         .live = true,
         .dates = true,
         .sequences = true},
        1000, ReplayWrong);
}

}  // namespace
}  // namespace segmentd::property
