#include "segment/measure.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"

#include "segment/settings.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

constexpr int64_t kMillisPerMinute = 60'000;

using Samples = decltype(MeasureState::samples);

// The samples' part that is after `from` and not after `now`.
auto Within(const Samples& samples, Time from, Time now) {
  const auto after = [](Time t, const Sample& s) { return t < s.at; };
  const auto begin = std::upper_bound(samples.begin(), samples.end(), from, after);
  return std::pair(begin, std::upper_bound(begin, samples.end(), now, after));
}

int64_t FloorDiv(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

// Finite, as what is stored must be.
void Add(double value, double& sum) {
  constexpr double kMost = std::numeric_limits<double>::max();
  sum = std::clamp(sum + value, -kMost, kMost);
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

void Measure::turn(Time period, MeasureState& state) const {
  if (period <= state.period) return;
  const bool adjacent =
      state.period != Time::Min() && calendar_->previous(period_, period) == state.period;
  state.before_count = adjacent ? state.count : 0;
  state.before_sum = adjacent ? state.sum : 0;
  state.count = 0;
  state.sum = 0;
  state.period = period;
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
  for (int64_t unit : {kMillisPerMinute, 60 * kMillisPerMinute, 24 * 60 * kMillisPerMinute}) {
    if (samples.size() <= kMaxSamples) return;
    Join(samples, samples.size() - kExactSamples, unit);
  }
}

void Measure::add(Time at, double value, Time now, MeasureState& state) const {
  if (number_ == Number::kFirst) {
    state.first = std::min(state.first, at);
    return;
  }
  switch (range_) {
    case Range::kSliding: {
      if (at <= now - window_) return;
      auto& samples = state.samples;
      if (samples.empty() || samples.back().at <= at) {
        samples.push_back({at, value, 1});
      } else {
        samples.insert(std::upper_bound(samples.begin(), samples.end(), at,
                                        [](Time t, const Sample& s) { return t < s.at; }),
                       {at, value, 1});
      }
      shrink(now, state);
      return;
    }
    case Range::kBetween:
      if (at < from_ || at >= to_) return;
      [[fallthrough]];
    case Range::kEver:
      ++state.count;
      Add(value, state.sum);
      return;
    case Range::kPeriod:
    case Range::kPeriodBefore: {
      const Time period = calendar_->begin(period_, at);
      turn(period, state);
      if (period == state.period) {
        ++state.count;
        Add(value, state.sum);
      } else if (range_ == Range::kPeriodBefore &&
                 period == calendar_->previous(period_, state.period)) {
        ++state.before_count;
        Add(value, state.before_sum);
      }
      return;
    }
  }
}

void Measure::merge(const MeasureState& other, Time now, MeasureState& state) const {
  state.first = std::min(state.first, other.first);
  if (!other.samples.empty()) {
    Samples all(state.samples.size() + other.samples.size());
    std::merge(state.samples.begin(), state.samples.end(), other.samples.begin(),
               other.samples.end(), all.begin(),
               [](const Sample& a, const Sample& b) { return a.at < b.at; });
    state.samples = std::move(all);
    shrink(now, state);
  }
  if (range_ == Range::kPeriod || range_ == Range::kPeriodBefore) {
    turn(other.period, state);
    if (other.period == state.period) {
      state.count += other.count;
      Add(other.sum, state.sum);
      state.before_count += other.before_count;
      Add(other.before_sum, state.before_sum);
    } else if (other.period != Time::Min() && range_ == Range::kPeriodBefore &&
               other.period == calendar_->previous(period_, state.period)) {
      state.before_count += other.count;
      Add(other.sum, state.before_sum);
    }
  } else {
    state.count += other.count;
    Add(other.sum, state.sum);
  }
}

bool Measure::passes(int64_t count, double sum) const {
  if (count == 0) {
    if (!include_none_) return false;
    return test_.empty() || test_.holds(0);
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

Measure::Reading Measure::read(const MeasureState& state, Time now) const {
  Reading out;
  if (number_ == Number::kFirst) {
    if (state.first == Time::Max()) return out;
    out.count = in_range(state.first, now) ? 1 : 0;
    out.oldest = out.newest = state.first;
    return out;
  }
  switch (range_) {
    case Range::kSliding: {
      const auto [begin, end] = Within(state.samples, now - window_, now);
      if (begin == end) return out;
      out.oldest = begin->at;
      out.newest = std::prev(end)->at;
      if (number_ == Number::kCount) {
        out.count = end - begin;
        return out;
      }
      for (auto it = begin; it != end; ++it) {
        out.count += it->count;
        Add(it->sum, out.sum);
      }
      return out;
    }
    case Range::kEver:
    case Range::kBetween:
      out.count = state.count;
      out.sum = state.sum;
      return out;
    case Range::kPeriod:
    case Range::kPeriodBefore: {
      if (state.period == Time::Min()) return out;
      const Time period = calendar_->begin(period_, now);
      if (range_ == Range::kPeriod) {
        if (state.period != period) return out;
      } else if (state.period == period) {
        out.count = state.before_count;
        out.sum = state.before_sum;
        return out;
      } else if (state.period != calendar_->previous(period_, period)) {
        return out;
      }
      out.count = state.count;
      out.sum = state.sum;
      return out;
    }
  }
  return out;
}

bool Measure::holds(const MeasureState& state, Time now) const {
  if (number_ == Number::kFirst) {
    return state.first != Time::Max() && in_range(state.first, now);
  }
  const Reading reading = read(state, now);
  return passes(reading.count, reading.sum);
}

Time Measure::next_change(const MeasureState& state, Time now) const {
  if (number_ == Number::kFirst) {
    if (state.first == Time::Max()) return Time::Max();
    if (state.first > now) return state.first;
    switch (range_) {
      case Range::kEver:
      case Range::kBetween:
        return Time::Max();
      case Range::kSliding:
        return state.first + window_ > now ? state.first + window_ : Time::Max();
      case Range::kPeriod:
        return in_range(state.first, now) ? calendar_->next(period_, now) : Time::Max();
      case Range::kPeriodBefore:
        return state.first >= calendar_->previous(period_, now) ? calendar_->next(period_, now)
                                                                : Time::Max();
    }
  }
  switch (range_) {
    case Range::kEver:
    case Range::kBetween:
      return Time::Max();
    case Range::kSliding: {
      const auto [begin, end] = Within(state.samples, now - window_, now);
      // Events may lie ahead where a history was added to an older state.
      const Time ahead = end != state.samples.end() ? end->at : Time::Max();
      if (begin == end) return ahead;
      if (number_ != Number::kCount) return std::min(ahead, begin->at + window_);
      int64_t count = end - begin;
      const bool held = passes(count, 0);
      for (auto it = begin; it != end; ++it) {
        --count;
        // Those of one moment slide out together.
        if (std::next(it) != end && std::next(it)->at == it->at) continue;
        if (passes(count, 0) != held) return std::min(ahead, it->at + window_);
      }
      return ahead;
    }
    case Range::kPeriod:
    case Range::kPeriodBefore: {
      if (state.period == Time::Min()) return Time::Max();
      const Time last = range_ == Range::kPeriod ? calendar_->begin(period_, now)
                                                 : calendar_->previous(period_, now);
      return state.period >= last ? calendar_->next(period_, now) : Time::Max();
    }
  }
  return Time::Max();
}

}  // namespace segmentd
