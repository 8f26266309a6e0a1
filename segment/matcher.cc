#include "segment/matcher.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "absl/strings/match.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

const Value kMissing{};

// The host of "scheme://user@host:port/…" or "//host/…", without a leading "www."; empty when there
// is none.
std::string_view HostOf(std::string_view url) {
  const size_t slashes = url.find("//");
  if (slashes == std::string_view::npos) return {};
  const std::string_view scheme = url.substr(0, slashes);
  if (!scheme.empty() && scheme.back() != ':') return {};
  std::string_view host = url.substr(slashes + 2);
  host = host.substr(0, host.find_first_of("/?#\\"));
  if (const size_t user = host.rfind('@'); user != std::string_view::npos) {
    host.remove_prefix(user + 1);
  }
  if (!host.empty() && host.front() == '[') {
    host = host.substr(0, host.find(']'));
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (absl::StartsWithIgnoreCase(AbslView(host), "www.")) host.remove_prefix(4);
  return host;
}

bool IsExternal(const Value& referrer, const Value& url) {
  if (referrer.type() != ValueType::kString) return false;
  const std::string_view from = HostOf(referrer.text());
  if (from.empty()) return false;
  if (url.type() != ValueType::kString) return true;
  return !absl::EqualsIgnoreCase(AbslView(from), AbslView(HostOf(url.text())));
}

}  // namespace

Matcher::Matcher(const RuleSet::Compiled& rules)
    : rules_(&rules),
      properties_(rules.fields.size()),
      outcomes_(rules.tests.size()),
      tried_(rules.atoms.size(), 0) {}

const Value& Matcher::property(FieldIndex field) const {
  const Property& p = properties_[field];
  return p.event == event_ ? p.value : kMissing;
}

bool Matcher::holds(uint32_t index, Time now) {
  Outcome& outcome = outcomes_[index];
  if (outcome.event == event_) return outcome.holds;
  const Test& test = rules_->tests[index];
  outcome.event = event_;
  outcome.holds = test.kind == Test::Kind::kExternal
                      ? IsExternal(property(test.field), property(test.other))
                      : test.predicate.holds(property(test.field), now);
  return outcome.holds;
}

void Matcher::try_atom(uint32_t index, Time now) {
  if (tried_[index] == event_) return;
  tried_[index] = event_;
  const Atom& atom = rules_->atoms[index];
  for (uint32_t test : atom.tests) {
    if (!holds(test, now)) return;
  }
  uint64_t value = 0;
  if (atom.needed != Fields::kNone) {
    const Value& needed = property(atom.needed);
    if (atom.numeric) {
      if (needed.type() == ValueType::kNumber) value = std::bit_cast<uint64_t>(needed.number());
    } else if (!needed.missing()) {
      value = ValueFingerprint(needed);
    }
  }
  hits_.push_back({index, value});
}

void Matcher::try_pivot(const EventIndex::Pivot& pivot, const Value& value, Time now) {
  const auto it = pivot.atoms.find(ValueFingerprint(value));
  if (it == pivot.atoms.end()) return;
  for (uint32_t atom : it->second) try_atom(atom, now);
}

void Matcher::match(const Event& event) {
  hits_.clear();
  const uint32_t place = rules_->event_names.find(event.name);
  if (place == KeyTable::kNone) return;
  const EventIndex& index = rules_->events[place];
  if (++event_ == 0) {  // The marks of 2^32 events ago would seem to be of this one.
    for (Property& p : properties_) p.event = 0;
    for (Outcome& o : outcomes_) o.event = 0;
    std::fill(tried_.begin(), tried_.end(), 0);
    event_ = 1;
  }
  for (const EventProperty& p : event.properties) properties_[p.field] = {event_, p.value};
  for (uint32_t atom : index.unpivoted) try_atom(atom, event.time);
  for (const EventIndex::Pivot& pivot : index.pivots) {
    const Value& value = property(pivot.field);
    if (value.missing()) continue;
    if (value.type() == ValueType::kList) {
      for (const Value& item : value.items()) try_pivot(pivot, item, event.time);
    } else {
      try_pivot(pivot, value, event.time);
    }
  }
}

}  // namespace segmentd
