#include "segment/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"

#include "segment/settings.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

constexpr int64_t kMillisPerMinute = 60'000;

using Samples = decltype(MeasureState::samples);

// The samples' part that is after `from` and not after `now`: mostly all.
std::pair<Samples::const_iterator, Samples::const_iterator> Within(const Samples& samples,
                                                                   Time from, Time now) {
  const auto after = [](Time t, const Sample& s) { return t < s.at; };
  auto begin = samples.begin();
  auto end = samples.end();
  if (begin != end && begin->at <= from) begin = std::upper_bound(begin, end, from, after);
  if (begin != end && std::prev(end)->at > now) end = std::upper_bound(begin, end, now, after);
  return {begin, end};
}

int64_t FloorDiv(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

// Finite, as what is stored must be.
void Add(double value, double& sum) {
  constexpr double kMost = std::numeric_limits<double>::max();
  sum = std::clamp(sum + value, -kMost, kMost);
}

// The total of samples. Four sums side by side: one addition does not wait for the one before it,
// and a long window is added up at every evaluation.
Sample Total(const Sample* begin, const Sample* end) {
  Sample total{.count = 0};
  std::array<double, 4> sums = {};
  const Sample* at = begin;
  for (; end - at >= 4; at += 4) {
    for (size_t lane = 0; lane < sums.size(); ++lane) {
      sums[lane] += at[lane].sum;
      total.count += at[lane].count;
    }
  }
  for (; at != end; ++at) {
    sums[0] += at->sum;
    total.count += at->count;
  }
  total.sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  if (std::isfinite(total.sum)) return total;
  total.sum = 0;
  for (at = begin; at != end; ++at) Add(at->sum, total.sum);
  return total;
}

// Joins those of [0, end) that lie in the same unit of time.
void Join(Samples& samples, size_t end, int64_t unit) {
  size_t kept = 0;
  for (size_t i = 0; i < end; ++i) {
    const Sample& sample = samples[i];
    if (kept > 0 &&
        FloorDiv(samples[kept - 1].at.millis(), unit) == FloorDiv(sample.at.millis(), unit)) {
      samples[kept - 1].at = sample.at;
      Add(sample.sum, samples[kept - 1].sum);
      samples[kept - 1].count += sample.count;
    } else {
      samples[kept++] = sample;
    }
  }
  samples.erase(samples.begin() + static_cast<ptrdiff_t>(kept),
                samples.begin() + static_cast<ptrdiff_t>(end));
}

}  // namespace

absl::StatusOr<std::vector<Measure>> Measure::Compile(const pb::Did& did) {
  Measure base;
  base.include_none_ = did.include_users_who_did_not();
  absl::StatusOr<Calendar> calendar =
      Calendar::Load(did.time_zone(), did.week_starts() == "sunday");
  if (!calendar.ok()) return calendar.status();
  if (!did.within_last().empty()) {
    absl::StatusOr<Duration> window = ParseDuration(did.within_last());
    if (!window.ok()) return window.status();
    base.range_ = Range::kSliding;
    base.window_ = *window;
  } else if (did.has_between()) {
    base.range_ = Range::kBetween;
    if (!calendar->parse(did.between().from(), &base.from_) ||
        !calendar->parse(did.between().to(), &base.to_)) {
      return absl::InvalidArgumentError("between: not a date");
    }
  } else if (!did.during().empty()) {
    const std::string& during = did.during();
    base.range_ = during == "yesterday" || during.starts_with("last_") ? Range::kPeriodBefore
                                                                       : Range::kPeriod;
    base.period_ = during.ends_with("week")    ? Period::kWeek
                   : during.ends_with("month") ? Period::kMonth
                   : during.ends_with("year")  ? Period::kYear
                                               : Period::kDay;
    base.calendar_ = std::make_shared<const Calendar>(*std::move(calendar));
  }

  std::vector<Measure> out;
  const auto add = [&](Number number, NumberTest test, const std::string& property) {
    Measure measure = base;
    measure.number_ = number;
    measure.deciding_ = std::max<int64_t>(1, test.deciding_count());
    measure.test_ = std::move(test);
    measure.property_ = property;
    if (number == Number::kCount && measure.range_ == Range::kSliding) {
      measure.turns_.assign(static_cast<size_t>(measure.deciding_) + 1, -1);
      for (size_t c = 1; c < measure.turns_.size(); ++c) {
        const auto count = static_cast<int64_t>(c);
        measure.turns_[c] = measure.passes(count, 0) != measure.passes(count - 1, 0)
                                ? static_cast<int32_t>(c - 1)
                                : measure.turns_[c - 1];
      }
    }
    out.push_back(std::move(measure));
  };
  if (did.has_count()) add(Number::kCount, NumberTest::Of(did.count()), "");
  if (did.has_sum()) add(Number::kSum, NumberTest::Of(did.sum()), did.sum().property());
  if (did.has_average()) {
    add(Number::kAverage, NumberTest::Of(did.average()), did.average().property());
  }
  if (did.first_time()) add(Number::kFirst, NumberTest(), "");
  if (out.empty()) add(Number::kCount, NumberTest(), "");
  return out;
}

void Measure::add_total(const Sample& total, MeasureState& state) const {
  auto& totals = state.samples;
  const auto at =
      std::find_if(totals.begin(), totals.end(), [&](const Sample& s) { return s.at >= total.at; });
  if (at != totals.end() && at->at == total.at) {
    at->count += total.count;
    Add(total.sum, at->sum);
    return;
  }
  totals.insert(at, total);
  if (totals.size() == 1) return;
  const Time latest = totals.back().at;
  const bool before = range_ == Range::kPeriodBefore &&
                      totals[totals.size() - 2].at == calendar_->previous(period_, latest);
  totals.erase(totals.begin(), totals.end() - ptrdiff_t{before ? 2 : 1});
}

void Measure::shrink(Time now, MeasureState& state) const {
  auto& samples = state.samples;
  const auto from = std::find_if(samples.begin(), samples.end(),
                                 [&](const Sample& s) { return s.at > now - window_; });
  samples.erase(samples.begin(), from);
  if (number_ == Number::kCount) {
    if (samples.size() > static_cast<size_t>(deciding_)) {
      samples.erase(samples.begin(), samples.end() - static_cast<ptrdiff_t>(deciding_));
    }
    return;
  }
  if (samples.size() <= kExactSamples) return;
  // One more has become old: its minute may have a sample already.
  const size_t old = samples.size() - kExactSamples;
  if (old >= 2 && FloorDiv(samples[old - 2].at.millis(), kMillisPerMinute) ==
                      FloorDiv(samples[old - 1].at.millis(), kMillisPerMinute)) {
    Add(samples[old - 2].sum, samples[old - 1].sum);
    samples[old - 1].count += samples[old - 2].count;
    samples.erase(samples.begin() + static_cast<ptrdiff_t>(old - 2));
  }
  for (int64_t unit : {kMillisPerMinute, 60 * kMillisPerMinute, 1440 * kMillisPerMinute}) {
    if (samples.size() <= kMaxSamples) return;
    Join(samples, samples.size() - kExactSamples, unit);
  }
}

void Measure::forget(Time now, MeasureState& state) const {
  if (range_ != Range::kSliding || number_ == Number::kFirst) return;
  auto& samples = state.samples;
  // The newest tells since when there are none.
  if (samples.size() <= 1) return;
  samples.erase(samples.begin(),
                std::find_if(samples.begin(), std::prev(samples.end()),
                             [&](const Sample& s) { return s.at > now - window_; }));
}

void Measure::add(Time at, double value, Time now, MeasureState& state) const {
  auto& samples = state.samples;
  if (number_ == Number::kFirst) {
    if (samples.empty()) {
      samples.push_back({at});
    } else {
      samples[0].at = std::min(samples[0].at, at);
    }
    return;
  }
  switch (range_) {
    case Range::kSliding:
      if (at <= now - window_) return;
      // The oldest goes first, so that there is never one more than needed.
      if (number_ == Number::kCount && samples.size() == static_cast<size_t>(deciding_)) {
        if (at < samples.front().at) return;
        samples.erase(samples.begin());
      }
      if (samples.empty() || samples.back().at <= at) {
        samples.push_back({at, value});
      } else {
        samples.insert(std::upper_bound(samples.begin(), samples.end(), at,
                                        [](Time t, const Sample& s) { return t < s.at; }),
                       {at, value});
      }
      shrink(now, state);
      return;
    case Range::kBetween:
      if (at < from_ || at >= to_) return;
      [[fallthrough]];
    case Range::kEver:
      add_total({Time(), value}, state);
      return;
    case Range::kPeriod:
    case Range::kPeriodBefore:
      add_total({calendar_->begin(period_, at), value}, state);
      return;
  }
}

void Measure::merge(const MeasureState& other, Time now, MeasureState& state) const {
  if (number_ == Number::kFirst) {
    if (!other.samples.empty()) add(other.samples[0].at, 0, now, state);
    return;
  }
  if (range_ != Range::kSliding) {
    for (const Sample& total : other.samples) add_total(total, state);
    return;
  }
  if (other.samples.empty()) return;
  Samples all(state.samples.size() + other.samples.size());
  std::merge(state.samples.begin(), state.samples.end(), other.samples.begin(), other.samples.end(),
             all.begin(), [](const Sample& a, const Sample& b) { return a.at < b.at; });
  state.samples = std::move(all);
  shrink(now, state);
}

bool Measure::passes(int64_t count, double sum) const {
  if (count == 0) {
    return include_none_ && !test_.empty() && test_.holds(0);
  }
  switch (number_) {
    case Number::kCount:
      return test_.empty() || test_.holds(static_cast<double>(count));
    case Number::kSum:
      return test_.holds(sum);
    case Number::kAverage:
      return test_.holds(sum / static_cast<double>(count));
    case Number::kFirst:
      break;
  }
  return true;
}

size_t Measure::added_up(const MeasureState& state) const {
  const bool sums = number_ == Number::kSum || number_ == Number::kAverage;
  return range_ == Range::kSliding && sums ? state.samples.size() : 0;
}

bool Measure::in_range(Time at, Time now) const {
  switch (range_) {
    case Range::kEver:
      return at <= now;
    case Range::kSliding:
      return at > now - window_ && at <= now;
    case Range::kBetween:
      return from_ <= at && at < to_ && at <= now;
    case Range::kPeriod:
      return at <= now && at >= calendar_->begin(period_, now);
    case Range::kPeriodBefore:
      return at >= calendar_->previous(period_, now) && at < calendar_->begin(period_, now);
  }
  return false;
}

Measure::Reading Measure::read_sliding(Samples::const_iterator begin,
                                       Samples::const_iterator end) const {
  Reading out;
  if (begin == end) return out;
  out.oldest = begin->at;
  out.newest = std::prev(end)->at;
  if (number_ == Number::kCount) {
    out.count = end - begin;
    return out;
  }
  const Sample total = Total(begin, end);
  out.count = total.count;
  out.sum = total.sum;
  return out;
}

Measure::Reading Measure::read(const MeasureState& state, Time now) const {
  Reading out;
  const auto& samples = state.samples;
  if (samples.empty()) return out;
  if (number_ == Number::kFirst) {
    out.count = in_range(samples[0].at, now) ? 1 : 0;
    out.oldest = out.newest = samples[0].at;
    return out;
  }
  const auto total = [&](const Sample& sample) {
    out.count = sample.count;
    out.sum = sample.sum;
  };
  switch (range_) {
    case Range::kSliding: {
      const auto [begin, end] = Within(samples, now - window_, now);
      return read_sliding(begin, end);
    }
    case Range::kEver:
    case Range::kBetween:
      total(samples[0]);
      return out;
    case Range::kPeriod:
    case Range::kPeriodBefore: {
      const Time wanted = range_ == Range::kPeriod ? calendar_->begin(period_, now)
                                                   : calendar_->previous(period_, now);
      for (const Sample& sample : samples) {
        if (sample.at == wanted) total(sample);
      }
      return out;
    }
  }
  return out;
}

bool Measure::holds(const MeasureState& state, Time now) const {
  const Reading reading = read(state, now);
  return number_ == Number::kFirst ? reading.count > 0 : passes(reading.count, reading.sum);
}

bool Measure::holds(const MeasureState& state, Time now, Time* next) const {
  if (range_ != Range::kSliding || number_ == Number::kFirst) {
    *next = next_change(state, now);
    return holds(state, now);
  }
  const auto [begin, end] = Within(state.samples, now - window_, now);
  *next = next_sliding(state.samples, begin, end);
  const Reading reading = read_sliding(begin, end);
  return passes(reading.count, reading.sum);
}

Time Measure::next_sliding(const Samples& samples, Samples::const_iterator begin,
                           Samples::const_iterator end) const {
  // Events may lie ahead where a history was added to an older state.
  const Time ahead = end != samples.end() ? end->at : Time::Max();
  if (begin == end) return ahead;
  if (number_ != Number::kCount) return std::min(ahead, begin->at + window_);
  // Those before the latest that decide turn nothing.
  const auto count = std::min<int64_t>(end - begin, deciding_);
  const int32_t turn = turns_[static_cast<size_t>(count)];
  return turn < 0 ? ahead : std::min(ahead, (end - (turn + 1))->at + window_);
}

Time Measure::next_change(const MeasureState& state, Time now) const {
  const auto& samples = state.samples;
  if (samples.empty()) return Time::Max();
  if (number_ == Number::kFirst) {
    const Time first = samples[0].at;
    if (first > now) return first;
    switch (range_) {
      case Range::kEver:
      case Range::kBetween:
        return Time::Max();
      case Range::kSliding:
        return first + window_ > now ? first + window_ : Time::Max();
      case Range::kPeriod:
        return in_range(first, now) ? calendar_->next(period_, now) : Time::Max();
      case Range::kPeriodBefore:
        return first >= calendar_->previous(period_, now) ? calendar_->next(period_, now)
                                                          : Time::Max();
    }
  }
  switch (range_) {
    case Range::kEver:
    case Range::kBetween:
      return Time::Max();
    case Range::kSliding: {
      const auto [begin, end] = Within(samples, now - window_, now);
      return next_sliding(samples, begin, end);
    }
    case Range::kPeriod:
    case Range::kPeriodBefore: {
      const Time last = range_ == Range::kPeriod ? calendar_->begin(period_, now)
                                                 : calendar_->previous(period_, now);
      return samples.back().at >= last ? calendar_->next(period_, now) : Time::Max();
    }
  }
  return Time::Max();
}

}  // namespace segmentd
