#include "segment/history.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>
#include <vector>

#include "segment/absl_view.h"
#include "segment/compiled_rules.h"

namespace segmentd {
namespace {

bool Reads(const RuleSet::Compiled& rules, Slot slot, const std::string& property) {
  const auto readers = rules.readers.find(property);
  return readers != rules.readers.end() &&
         std::find(readers->second.begin(), readers->second.end(), slot) != readers->second.end();
}

bool ReadsCommon(const RuleSet::Compiled& rules, Slot slot) {
  return std::any_of(rules.common.begin(), rules.common.end(),
                     [&](const auto& common) { return Reads(rules, slot, common.second); });
}

}  // namespace

History::History(std::shared_ptr<const RuleSet> rules, const Settings& settings)
    : rules_(std::move(rules)), settings_(settings), matcher_(rules_->compiled()) {
  for (const Rule& rule : rules_->compiled().rules) {
    first_.push_back(static_cast<uint32_t>(measures_.size()));
    for (const Measure& measure : rule.measures) measures_.push_back(&measure);
    filters_ = filters_ || (rule.kind != Rule::Kind::kPast && !rule.measures.empty());
  }
}

History::~History() = default;

History::User& History::user_of(std::string_view id) {
  const auto it = index_.find(AbslView(id));
  if (it != index_.end()) return users_[it->second];
  index_.emplace(id, static_cast<uint32_t>(users_.size()));
  return users_.emplace_back();
}

void History::count(const Recent& event, std::vector<MeasureState>& measures) const {
  if (event.counted.empty()) return;
  if (measures.empty()) measures.resize(measures_.size());
  for (const auto& [measure, value] : event.counted) {
    measures_[measure]->add(event.at, std::bit_cast<double>(value), event.now, measures[measure]);
  }
}

bool History::note_common(const Event& event, User& user) const {
  bool any = false;
  for (const auto& common : rules_->compiled().common) {
    const std::string& property = common.second;
    const EventProperty* said = FindProperty(event.properties, common.first);
    if (said == nullptr) continue;
    any = true;
    const EventOrder order{event.time, event.offset};
    auto at = std::find_if(user.common.begin(), user.common.end(),
                           [&](const ProfileWrite& write) { return write.property == property; });
    if (at != user.common.end() && order < at->order) continue;
    OwnedValue value(said->value);
    // No profile would take it.
    if (value.bytes() > kMaxProfileBytes) continue;
    if (at == user.common.end()) at = user.common.emplace(at);
    at->order = order;
    at->property = property;
    at->value = std::move(value);
  }
  return any;
}

void History::settle(Time oldest, User& user) const {
  const auto begin = user.recent.begin() + user.counted;
  const auto end = std::find_if(begin, user.recent.end(), [&](const Recent& r) {
    return r.record_time >= oldest || (filters_ && r.now >= oldest);
  });
  if (end == begin) return;
  for (auto it = begin; it != end; ++it) count(*it, user.measures);
  user.recent.erase(user.recent.begin(), end);
  user.counted = 0;
}

void History::add(std::string_view id, const Event& event) {
  ++records_;
  newest_record_ = std::max(newest_record_, event.record_time);
  last_ = event.offset;
  User& user = user_of(id);
  const Time oldest = event.record_time - settings_.max_lateness;
  const uint64_t message =
      event.message_id.empty() ? 0 : ValueFingerprint(Value::String(event.message_id));
  if (message != 0) {
    const auto same = [&](const Recent& r) {
      return r.message == message && r.record_time >= oldest;
    };
    if (std::any_of(user.recent.begin() + user.counted, user.recent.end(), same)) return;
  }
  const Time before = user.newest;
  user.newest = std::max(before, event.time);
  const bool too_late = event.time < oldest ||
                        (before != Time::Min() && event.time < before - settings_.max_lateness);
  const bool said = note_common(event, user);
  matcher_.match(event);
  if (matcher_.hits().empty() && !said) return;

  event_ = {.message = message,
            .record_time = event.record_time,
            .offset = event.offset,
            .at = event.time,
            .now = too_late ? std::max(event.record_time, user.newest) : event.time,
            .counted = {},
            .said = said};
  for (const Hit& hit : matcher_.hits()) {
    for (const Subscription& s : rules_->compiled().atoms[hit.atom].subscriptions) {
      if (s.roles == kMeasured) event_.counted.emplace_back(first_[s.slot] + s.measure, hit.value);
    }
  }
  if (event_.counted.empty() && !said) return;
  if (message == 0 && !filters_) {
    count(event_, user.measures);
    return;
  }
  // In doubling portions, as the list is gone through.
  const size_t size = user.recent.size() - user.counted;
  if (size >= 4 && (size & (size - 1)) == 0) settle(oldest, user);
  if (user.recent.size() - user.counted >= settings_.max_message_ids) {
    count(user.recent[user.counted], user.measures);
    // Many go at once: those that stay are moved up.
    if (++user.counted >= settings_.max_message_ids) {
      user.recent.erase(user.recent.begin(), user.recent.begin() + user.counted);
      user.counted = 0;
    }
  }
  user.recent.push_back(event_);
}

void History::finish() {
  // A record time ahead of the clock tells nothing of those to come.
  Time now = newest_record_;
  for (const ActiveSegment& segment : rules_->segments()) {
    if (segment.activation_clock != Time::Min()) now = std::min(now, segment.activation_clock);
  }
  for (User& user : users_) settle(now - settings_.max_lateness, user);
}

bool History::has(const ActiveSegment& segment) const {
  const ActiveSegment* mine = rules_->segment(segment.slot);
  return mine != nullptr && SameVersion(mine->segment, segment.segment) &&
         (!rules_->compiled().rules[segment.slot].measures.empty() ||
          ReadsCommon(rules_->compiled(), segment.slot));
}

bool History::take(std::string_view id, Slot slot, absl::Span<const SeenMessage> seen,
                   Past* past) const {
  const auto it = index_.find(AbslView(id));
  if (it == index_.end()) return false;
  const User& user = users_[it->second];
  const auto by_id = [](const SeenMessage& a, const SeenMessage& b) { return a.id < b.id; };
  past->messages.clear();
  past->ahead.clear();
  past->cut_off = 0;
  past->common.clear();
  for (const ProfileWrite& write : user.common) {
    if (Reads(rules_->compiled(), slot, write.property)) past->common.push_back(write);
  }
  const bool reads_common = ReadsCommon(rules_->compiled(), slot);
  const Rule& rule = rules_->compiled().rules[slot];
  const uint32_t first = first_[slot];
  const size_t size = rule.measures.size();
  // No trigger of a filter can be older.
  const Time oldest =
      rule.kind == Rule::Kind::kPast ? Time::Max() : user.newest - settings_.max_lateness;
  const auto mine = user.measures.begin() + first;
  if (user.measures.empty()) {
    past->measures.assign(size, MeasureState());
  } else {
    past->measures.assign(mine, mine + static_cast<ptrdiff_t>(size));
  }
  // Of the stream what came after the history, and what can't be told to be from before.
  std::vector<SeenMessage> since;
  if (!user.recent.empty()) {
    std::copy_if(seen.begin(), seen.end(), std::back_inserter(since), [&](const SeenMessage& s) {
      return s.offset == SeenMessage::kUnknown || s.offset > last_;
    });
    std::sort(since.begin(), since.end(), by_id);
  }
  for (const Recent& event : absl::MakeConstSpan(user.recent).subspan(user.counted)) {
    const auto [begin, end] =
        std::equal_range(since.begin(), since.end(), SeenMessage{event.message}, by_id);
    const bool again = std::any_of(begin, end, [&](const SeenMessage& s) {
      // Not of the record itself.
      return (s.offset != SeenMessage::kUnknown || s.record_time != event.record_time) &&
             s.record_time >= event.record_time - settings_.max_lateness &&
             event.record_time >= s.record_time - settings_.max_lateness;
    });
    if (again) continue;
    bool has_part = event.said && reads_common;
    for (const auto& [measure, value] : event.counted) {
      if (measure < first || measure >= first + size) continue;
      past->ahead.push_back({event.now, event.at, std::bit_cast<double>(value), measure - first});
      has_part = true;
    }
    if (has_part && event.message != 0) {
      past->messages.push_back({event.message, event.record_time, event.offset});
    }
  }
  std::stable_sort(past->ahead.begin(), past->ahead.end(),
                   [](const Addition& a, const Addition& b) { return a.from < b.from; });
  size_t known = 0;
  for (const Addition& event : past->ahead) {
    if (event.from > oldest && past->ahead.size() - known <= settings_.max_facts) break;
    rule.measures[event.measure].add(event.at, event.value, event.from,
                                     past->measures[event.measure]);
    if (event.from > oldest) ++past->cut_off;
    ++known;
  }
  past->ahead.erase(past->ahead.begin(), past->ahead.begin() + static_cast<ptrdiff_t>(known));
  // Others count more of the user, and are to make no difference.
  const bool counted =
      std::any_of(past->measures.begin(), past->measures.end(),
                  [](const MeasureState& measure) { return !measure.samples.empty(); });
  if (!counted) past->measures.clear();
  return counted || !past->ahead.empty() || !past->messages.empty() || !past->common.empty();
}

}  // namespace segmentd
