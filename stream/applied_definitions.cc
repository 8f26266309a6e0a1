#include "stream/applied_definitions.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "segment/definition_check.h"

namespace segmentd {
namespace {

using segments::v1::AppliedDefinition;
using segments::v1::Segment;

using BySlot = std::map<Slot, AppliedDefinition>;

absl::StatusOr<std::shared_ptr<const RuleSet>> Compile(const BySlot& by_slot) {
  std::vector<ActiveSegment> active;
  active.reserve(by_slot.size());
  for (const auto& [slot, definition] : by_slot) {
    active.push_back({.slot = slot,
                      .segment = definition.segment(),
                      .activation_offset = Offset(definition.activation_offset()),
                      .activation_clock = Time::Millis(definition.activation_clock_ms()),
                      .deleting = definition.deleting()});
  }
  return RuleSet::Compile(std::move(active));
}

// Another segment under the same ID: the first was deleted and the deletion not seen.
bool Remade(const Segment& applied, const Segment& wanted) {
  // A record that can't be read tells nothing about the segment but its ID: what runs goes on.
  if (wanted.definition_case() == Segment::DEFINITION_NOT_SET) return false;
  return wanted.version() < applied.version() ||
         applied.create_time().seconds() != wanted.create_time().seconds() ||
         applied.create_time().nanos() != wanted.create_time().nanos();
}

std::string Describe(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", violation.path,
                    violation.path.empty() ? "" : ": ", violation.message);
  }
  return text;
}

}  // namespace

void AppliedDefinitions::restore(AppliedDefinition definition) {
  by_slot_[definition.slot()] = std::move(definition);
}

absl::StatusOr<std::shared_ptr<const RuleSet>> AppliedDefinitions::compile() const {
  return Compile(by_slot_);
}

bool AppliedDefinitions::differ(const std::vector<Segment>& wanted) const {
  absl::flat_hash_map<std::string_view, const AppliedDefinition*> live;
  absl::flat_hash_set<std::string_view> ending;
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.deleting()) {
      ending.insert(definition.segment().id());
    } else {
      live.emplace(definition.segment().id(), &definition);
    }
  }
  size_t kept = 0;
  size_t refused = 0;
  for (const Segment& segment : wanted) {
    const auto it = live.find(segment.id());
    if (it != live.end()) {
      ++kept;
      if (Remade(it->second->segment(), segment)) return true;
      if (it->second->segment().version() == segment.version()) continue;
    } else if (ending.contains(segment.id())) {
      continue;
    }
    const auto rejected = rejected_.find(segment.id());
    if (rejected == rejected_.end() || rejected->second.rejected_version != segment.version()) {
      return true;
    }
    ++refused;
  }
  return kept != live.size() || refused != rejected_.size();
}

AppliedDefinitions::Change AppliedDefinitions::plan(const std::vector<Segment>& wanted,
                                                    Offset activation_offset,
                                                    Time activation_clock) const {
  Change change;
  BySlot next = by_slot_;
  absl::flat_hash_map<std::string_view, Slot> live;
  absl::flat_hash_set<std::string_view> ending;
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.deleting()) {
      ending.insert(definition.segment().id());
    } else {
      live.emplace(definition.segment().id(), slot);
    }
  }

  const auto retire = [&](Slot slot) {
    next[slot].set_deleting(true);
    change.definitions.push_back(next[slot]);
  };
  absl::flat_hash_map<std::string_view, const Segment*> by_id;
  for (const Segment& segment : wanted) by_id.emplace(segment.id(), &segment);
  for (const auto& [id, slot] : live) {
    const auto it = by_id.find(id);
    if (it == by_id.end() || Remade(by_slot_.at(slot).segment(), *it->second)) {
      retire(slot);
      ending.insert(id);
    }
  }

  // New segments and new versions, each in its slot.
  std::vector<AppliedDefinition> candidates;
  Slot free = 0;
  for (const Segment& segment : wanted) {
    if (ending.contains(segment.id())) continue;
    AppliedDefinition candidate;
    const auto it = live.find(segment.id());
    if (it != live.end()) {
      if (by_slot_.at(it->second).segment().version() == segment.version()) continue;
      candidate.set_slot(it->second);
    }
    const auto reject = [&](std::string why) {
      DefinitionStatus& status = change.rejected[segment.id()];
      status.rejected_version = segment.version();
      status.rejected = std::move(why);
    };
    const std::vector<Violation> violations = CheckSegment(segment);
    if (!violations.empty()) {
      reject(Describe(violations));
      continue;
    }
    if (it == live.end()) {
      while (next.count(free) != 0) ++free;
      candidate.set_slot(free);
    }
    *candidate.mutable_segment() = segment;
    candidate.set_activation_offset(activation_offset.value());
    candidate.set_activation_clock_ms(activation_clock.millis());
    candidates.push_back(candidate);
    next[candidate.slot()] = std::move(candidate);
  }

  absl::StatusOr<std::shared_ptr<const RuleSet>> rules = Compile(next);
  if (!rules.ok()) {
    // Something that only the compilation finds. Take the candidates in one by one; those in use
    // compile, or the task would not run.
    for (const AppliedDefinition& candidate : candidates) {
      const auto before = by_slot_.find(candidate.slot());
      if (before == by_slot_.end()) {
        next.erase(candidate.slot());
      } else {
        next[candidate.slot()] = before->second;
      }
    }
    std::vector<AppliedDefinition> accepted;
    for (const AppliedDefinition& candidate : candidates) {
      BySlot with = next;
      with[candidate.slot()] = candidate;
      if (absl::StatusOr<std::shared_ptr<const RuleSet>> compiled = Compile(with); compiled.ok()) {
        next = std::move(with);
        accepted.push_back(candidate);
      } else {
        DefinitionStatus& status = change.rejected[candidate.segment().id()];
        status.rejected_version = candidate.segment().version();
        status.rejected = std::string(compiled.status().message());
      }
    }
    candidates = std::move(accepted);
    rules = Compile(next);
  }
  for (AppliedDefinition& candidate : candidates) {
    if (by_slot_.count(candidate.slot()) != 0) change.edits = true;
    change.definitions.push_back(std::move(candidate));
  }
  if (rules.ok()) change.rules = *std::move(rules);
  return change;
}

void AppliedDefinitions::apply(const Change& change) {
  for (const AppliedDefinition& definition : change.definitions) {
    by_slot_[definition.slot()] = definition;
  }
  rejected_ = change.rejected;
}

std::optional<Slot> AppliedDefinitions::deleting() const {
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.deleting()) return slot;
  }
  return std::nullopt;
}

DefinitionStatuses AppliedDefinitions::statuses() const {
  DefinitionStatuses statuses;
  for (const auto& [slot, definition] : by_slot_) {
    DefinitionStatus& status = statuses[definition.segment().id()];
    if (definition.deleting()) {
      status.deleting = true;
    } else {
      status.version = definition.segment().version();
      status.building = definition.phase() != AppliedDefinition::ACTIVE;
      status.paused = definition.paused();
      status.paused_by_guard = definition.paused_by_guard();
    }
  }
  for (const auto& [id, rejected] : rejected_) {
    DefinitionStatus& status = statuses[id];
    status.rejected_version = rejected.rejected_version;
    status.rejected = rejected.rejected;
  }
  return statuses;
}

}  // namespace segmentd
