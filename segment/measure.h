// What one `did` condition asks of a user's events: a range of time, a number made of the events in
// it, and a test of that number.
//
// A MeasureState is a summary of a set of events: events may be added in any order, and summaries
// of two sets merge into that of both. That is what lets a history be read beside the stream and be
// added later. (Which samples of a long sum are joined depends on the order, within the unit of
// time that joins them.) Sums of floating-point numbers are exact in any order only where the
// numbers are; otherwise they may differ in the last bits.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/calendar.h"
#include "segment/number_condition.h"
#include "segment/time.h"

namespace segmentd {

// One event, or several joined.
struct Sample {
  // Of the newest event joined.
  Time at;
  double sum = 0;
  int64_t count = 1;
  bool operator==(const Sample&) const = default;
};

struct MeasureState {
  // Of a range that slides, its events, oldest first. Of calendar periods, their totals, `at` being
  // where they begin: at most the latest with an event and the one just before it. Of a range that
  // stands, one total, `at` Time(). Of a first time, the first event. Most conditions ask for one
  // event, so one sample needs no memory of its own.
  absl::InlinedVector<Sample, 1> samples;
  bool operator==(const MeasureState&) const = default;
};

class Measure {
 public:
  // The measures of a `did` that has passed the check; all must hold. Errors as the check gives
  // them.
  static absl::StatusOr<std::vector<Measure>> Compile(const segments::v1::Did& did);

  // The property whose number an event adds; empty where events only count.
  const std::string& property() const { return property_; }

  // Takes in an event of time `at`; `now` is the moment from which it counts, at or after `at`.
  void add(Time at, double value, Time now, MeasureState& state) const;
  // Takes in what another state has, of other events.
  void merge(const MeasureState& other, Time now, MeasureState& state) const;

  // Forgets what has slid out at `now`; what holds() says from then on stays the same.
  void forget(Time now, MeasureState& state) const;

  bool holds(const MeasureState& state, Time now) const;
  // The same, and next_change(), for about the price of one.
  bool holds(const MeasureState& state, Time now, Time* next) const;
  // The earliest moment after `now` at which holds() may turn without an event; Time::Max() for
  // none.
  Time next_change(const MeasureState& state, Time now) const;

  // How many samples holds() adds up.
  size_t added_up(const MeasureState& state) const;

  // For people: how many events count at `now` (at most as many as the test needs), and their sum.
  struct Reading {
    int64_t count = 0;
    double sum = 0;
    // When the oldest and the newest of them happened, where that is kept; Time::Min() otherwise.
    Time oldest = Time::Min();
    Time newest = Time::Min();
  };
  Reading read(const MeasureState& state, Time now) const;

 private:
  enum class Range : uint8_t { kEver, kSliding, kBetween, kPeriod, kPeriodBefore };
  enum class Number : uint8_t { kCount, kSum, kAverage, kFirst };

  using Samples = decltype(MeasureState::samples);

  Reading read_sliding(Samples::const_iterator begin, Samples::const_iterator end) const;
  // Of samples [begin, end) in the window.
  Time next_sliding(const Samples& samples, Samples::const_iterator begin,
                    Samples::const_iterator end) const;
  // Of the number made of `count` events; users without one have their own rule.
  bool passes(int64_t count, double sum) const;
  bool in_range(Time at, Time now) const;
  // Adds a total of a range that does not slide, or of a period.
  void add_total(const Sample& total, MeasureState& state) const;
  void shrink(Time now, MeasureState& state) const;

  Range range_ = Range::kEver;
  Number number_ = Number::kCount;
  bool include_none_ = false;
  Period period_ = Period::kDay;
  Duration window_;
  Time from_ = Time::Min();
  Time to_ = Time::Max();
  // No more of the latest events can make a difference to a count.
  int64_t deciding_ = 1;
  // By count: the next lower one at which the test turns, -1 for none.
  std::vector<int32_t> turns_;
  NumberTest test_;
  std::string property_;
  std::shared_ptr<const Calendar> calendar_;
};

// Sums and averages over a sliding window keep so many events each on their own, and so many
// samples in all: past the first the oldest are joined by the minute, past the second by the hour,
// then by the day. The second leaves room for each minute of a day.
inline constexpr size_t kExactSamples = 256;
inline constexpr size_t kMaxSamples = 2048;

}  // namespace segmentd
