#include "stream/applied_definitions.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "segment/absl_view.h"
#include "segment/compiled_rules.h"
#include "segment/definition_check.h"
#include "segment/expression_walk.h"
#include "segment/fields.h"

namespace segmentd {
namespace {

using segments::v1::AppliedDefinition;
using segments::v1::Expression;
using segments::v1::Segment;

using BySlot = std::map<Slot, AppliedDefinition>;

// Users have still to have their turn with it.
bool Builds(const AppliedDefinition& definition) {
  return definition.phase() != AppliedDefinition::ACTIVE && !definition.deleting() &&
         !definition.paused();
}

// Consumers are being told of its members: of those whose state is built they were.
bool EndsShadow(const AppliedDefinition& definition) {
  return definition.untold() && definition.phase() == AppliedDefinition::ACTIVATING;
}

// The next version can't follow yet, unless a pause ends this one: some members have been told of,
// and all are to be. Or of a live segment: what came since the activation is this version's to
// judge, at the users' turns.
bool KeepsVersion(const AppliedDefinition& definition, const Segment& next) {
  if (!Builds(definition) || next.paused()) return false;
  return EndsShadow(definition) || definition.segment().has_live();
}

// Why the version can't follow, whatever its rule says: that is looked at when its time has come.
std::optional<std::string> RefusalAfter(const Segment& before, const Segment& next) {
  if (next.definition_case() != before.definition_case() &&
      next.definition_case() != Segment::DEFINITION_NOT_SET) {
    const auto* kinds = Segment::descriptor();
    return absl::StrCat(kinds->FindFieldByNumber(next.definition_case())->name(),
                        ": the segment is of the kind ",
                        kinds->FindFieldByNumber(before.definition_case())->name(),
                        ", which an update can't change; create another segment");
  }
  if (next.shadow() && !before.shadow()) {
    return "shadow: can be set only when the segment is created; create another segment";
  }
  return std::nullopt;
}

// Where a change of the definitions comes.
struct ChangePoint {
  Offset offset;
  Time clock;
  uint64_t number;
};

void SetChanged(const ChangePoint& point, AppliedDefinition& definition) {
  definition.set_changed_offset(point.offset.value());
  definition.set_changed_clock_ms(point.clock.millis());
  definition.set_change_number(point.number);
}

// Records from before the clock was kept have that of an activation alone.
Time ChangedClock(const AppliedDefinition& definition) {
  const bool activated = definition.changed_offset() == definition.activation_offset();
  return Time::Millis(definition.changed_clock_ms() == 0 && activated
                          ? definition.activation_clock_ms()
                          : definition.changed_clock_ms());
}

ActiveSegment Active(const AppliedDefinition& definition) {
  return {.slot = definition.slot(),
          .segment = definition.segment(),
          .activation_offset = Offset(definition.activation_offset()),
          .activation_clock = Time::Millis(definition.activation_clock_ms()),
          .deleting = definition.deleting(),
          .built = definition.phase() == AppliedDefinition::ACTIVE,
          .history_offset = Offset(definition.history_offset()),
          .paused = definition.paused(),
          .telling = definition.paused() && EndsShadow(definition),
          .changed_offset = Offset(definition.changed_offset()),
          .changed_clock = ChangedClock(definition),
          .change_number = definition.change_number()};
}

absl::StatusOr<std::shared_ptr<const RuleSet>> Compile(const BySlot& by_slot) {
  std::vector<ActiveSegment> active;
  active.reserve(by_slot.size());
  for (const auto& [slot, definition] : by_slot) active.push_back(Active(definition));
  return RuleSet::Compile(std::move(active));
}

// Whether users must be evaluated whom no event leads to.
bool TakesTurns(const Segment& segment) {
  return segment.has_past_behavior() || segment.live().has_date_time() || ReadsPast(segment);
}

// Another segment under the same ID: the first was deleted and the deletion not seen.
bool Remade(const Segment& applied, const Segment& wanted) {
  // A record that can't be read or run tells nothing about the segment but its ID: what runs goes
  // on.
  if (wanted.status() == segments::v1::SEGMENT_STATUS_INVALID) return false;
  // Nor does the update of such a record say when the segment was created.
  if (!wanted.has_create_time()) return false;
  return wanted.version() < applied.version() || !SameSegment(applied, wanted);
}

// The definition of a segment that is activated; `before` is null where it is new. In no slot yet.
AppliedDefinition Activate(const Segment& segment, const AppliedDefinition* before,
                           const ChangePoint& point, bool nobody) {
  AppliedDefinition definition;
  *definition.mutable_segment() = segment;
  definition.set_activation_offset(point.offset.value());
  definition.set_activation_clock_ms(point.clock.millis());
  definition.set_history_offset(point.offset.value());
  SetChanged(point, definition);
  // Whoever wrote an update without knowing of a pause, which the guard makes without a version
  // and a record that can't be read hides, did not mean to end it.
  const bool goes_on = before && before->paused() && !segment.paused() &&
                       segment.resumed_version() <= before->segment().version();
  const bool paused = segment.paused() || goes_on;
  definition.set_paused(paused);
  definition.set_paused_by_guard(goes_on && before->paused_by_guard());
  const bool first =
      !before || (before->first() && before->phase() != AppliedDefinition::ACTIVATING);
  const bool untold =
      before && !segment.shadow() && (before->segment().shadow() || before->untold());
  const bool builds = !paused && !nobody && (untold || TakesTurns(segment));
  definition.set_phase(builds ? AppliedDefinition::BUILDING : AppliedDefinition::ACTIVE);
  // It says that some members were told, until the users' states do.
  if (paused && before && !before->paused() && EndsShadow(*before)) {
    definition.set_phase(before->phase());
  }
  definition.set_first(first);
  definition.set_untold(untold);
  return definition;
}

// Whoever refers to a segment that is building can be evaluated only when that is built.
void BuildAfterInner(std::vector<AppliedDefinition>& candidates, const BySlot& next) {
  absl::flat_hash_map<std::string, std::vector<AppliedDefinition*>> outers;
  for (AppliedDefinition& candidate : candidates) {
    if (candidate.paused()) continue;
    for (std::string& id : ReferencedSegments(candidate.segment())) {
      outers[std::move(id)].push_back(&candidate);
    }
  }
  std::vector<std::string_view> building;
  for (const auto& [slot, definition] : next) {
    if (Builds(definition)) building.push_back(definition.segment().id());
  }
  while (!building.empty()) {
    const auto found = outers.find(AbslView(building.back()));
    building.pop_back();
    if (found == outers.end()) continue;
    for (AppliedDefinition* outer : found->second) {
      if (outer->phase() != AppliedDefinition::ACTIVE) continue;
      outer->set_phase(AppliedDefinition::BUILDING);
      building.push_back(outer->segment().id());
    }
  }
}

void Reject(const Segment& segment, std::string why,
            std::map<std::string, DefinitionStatus>& rejected) {
  DefinitionStatus& status = rejected[segment.id()];
  status.rejected_version = segment.version();
  status.rejected = std::move(why);
}

// Of candidates that don't compile together with `next`, for the cause `why`, takes in those that
// do. By halves: one by one, each of thousands would be compiled with all before it.
void TakeWhatCompiles(absl::Span<const AppliedDefinition> candidates, const absl::Status& why,
                      BySlot& next, std::vector<AppliedDefinition>& accepted,
                      std::map<std::string, DefinitionStatus>& rejected) {
  if (candidates.size() == 1) {
    Reject(candidates[0].segment(), std::string(why.message()), rejected);
    return;
  }
  const size_t half = candidates.size() / 2;
  for (const auto part : {candidates.first(half), candidates.subspan(half)}) {
    BySlot with = next;
    for (const AppliedDefinition& candidate : part) with[candidate.slot()] = candidate;
    if (const auto compiled = Compile(with); compiled.ok()) {
      next = std::move(with);
      accepted.insert(accepted.end(), part.begin(), part.end());
    } else {
      TakeWhatCompiles(part, compiled.status(), next, accepted, rejected);
    }
  }
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

bool ReadsPast(const Segment& segment) {
  bool any = segment.live().date_time().property().starts_with(kContextPrefix);
  ForEachExpression(segment, [&](const std::string&, const Expression& e) {
    const bool common = e.has_property() && e.property().property().starts_with(kContextPrefix);
    any = any || e.has_did() || e.has_did_not() || common;
  });
  return any;
}

std::vector<std::string> ReferencedSegments(const Segment& segment) {
  std::vector<std::string> ids;
  ForEachExpression(segment, [&](const std::string&, const Expression& e) {
    if (e.in_segment().empty()) return;
    if (std::find(ids.begin(), ids.end(), e.in_segment()) == ids.end()) {
      ids.push_back(e.in_segment());
    }
  });
  return ids;
}

std::string LostDefinitions(std::string_view topic, Offset end, Offset run) {
  return absl::StrCat(
      AbslView(topic), " ends at offset ", end.value(), ", but definitions up to ", run.value(),
      " were run: it was deleted or made again. Restore its records from a copy. To go on with "
      "what it holds now, which takes every user out of the segments that are not in it, start "
      "with --accept-lost-definitions.");
}

void AppliedDefinitions::restore(AppliedDefinition definition) {
  last_change_number_ = std::max(last_change_number_, definition.change_number());
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
      if (KeepsVersion(*it->second, segment) && !RefusalAfter(it->second->segment(), segment)) {
        continue;
      }
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
                                                    Offset activation_offset, Time activation_clock,
                                                    bool nobody) const {
  Change change;
  BySlot next = by_slot_;
  const ChangePoint point{activation_offset, activation_clock, last_change_number_ + 1};
  absl::flat_hash_map<std::string_view, Slot> live;
  absl::flat_hash_set<std::string_view> ending;
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.deleting()) {
      ending.insert(definition.segment().id());
    } else {
      live.emplace(definition.segment().id(), slot);
    }
  }

  absl::flat_hash_map<std::string_view, const Segment*> by_id;
  for (const Segment& segment : wanted) by_id.emplace(segment.id(), &segment);
  for (const auto& [id, slot] : live) {
    const auto it = by_id.find(id);
    if (it != by_id.end() && !Remade(by_slot_.at(slot).segment(), *it->second)) continue;
    next[slot].set_deleting(true);
    // From here on, not from a user's turn on, the segment is what it was.
    SetChanged(point, next[slot]);
    change.definitions.push_back(next[slot]);
    ending.insert(id);
  }

  // New segments and new versions, each in its slot.
  std::vector<AppliedDefinition> candidates;
  Slot free = 0;
  for (const Segment& segment : wanted) {
    if (ending.contains(segment.id())) continue;
    const auto it = live.find(segment.id());
    const AppliedDefinition* before = nullptr;
    std::optional<std::string> refusal;
    if (it != live.end()) {
      before = &by_slot_.at(it->second);
      if (before->segment().version() == segment.version()) continue;
      refusal = RefusalAfter(before->segment(), segment);
      if (!refusal && KeepsVersion(*before, segment)) continue;
    }
    if (segment.status() == segments::v1::SEGMENT_STATUS_INVALID) {
      refusal = segment.status_detail();
    } else if (const auto violations = CheckSegment(segment); !violations.empty()) {
      refusal = Describe(violations);
    }
    if (refusal) {
      Reject(segment, *std::move(refusal), change.rejected);
      continue;
    }
    AppliedDefinition candidate = Activate(segment, before, point, nobody);
    while (!before && next.count(free) != 0) ++free;
    candidate.set_slot(before ? before->slot() : free);
    candidates.push_back(candidate);
    next[candidate.slot()] = std::move(candidate);
  }
  if (!nobody) BuildAfterInner(candidates, next);
  for (AppliedDefinition& candidate : candidates) {
    // A paused one has still to be evaluated.
    if (candidate.phase() == AppliedDefinition::ACTIVE && !candidate.paused()) {
      candidate.clear_first();
      candidate.clear_untold();
    }
    next[candidate.slot()] = candidate;
  }

  absl::StatusOr<std::shared_ptr<const RuleSet>> rules = Compile(next);
  if (!rules.ok() && !candidates.empty()) {
    // Something that only the compilation finds. Those in use compile, or the task would not run.
    for (const AppliedDefinition& candidate : candidates) {
      const auto before = by_slot_.find(candidate.slot());
      if (before == by_slot_.end()) {
        next.erase(candidate.slot());
      } else {
        next[candidate.slot()] = before->second;
      }
    }
    std::vector<AppliedDefinition> accepted;
    TakeWhatCompiles(candidates, rules.status(), next, accepted, change.rejected);
    candidates = std::move(accepted);
    rules = Compile(next);
  }
  for (AppliedDefinition& candidate : candidates) {
    if (by_slot_.count(candidate.slot()) != 0) change.edits = true;
    change.definitions.push_back(std::move(candidate));
  }
  if (rules.ok()) {
    change.rules = *std::move(rules);
    // Or what a later change finds of a user would depend on whether they came by in between.
    const bool settles = change.rules->compiled().settled_change_number == point.number;
    change.edits = change.edits || settles;
  }
  return change;
}

void AppliedDefinitions::apply(const Change& change) {
  for (const AppliedDefinition& definition : change.definitions) restore(definition);
  rejected_ = change.rejected;
}

AppliedDefinitions::Change AppliedDefinitions::enter(AppliedDefinition::Phase phase,
                                                     const std::vector<Slot>& slots) const {
  Change change;
  BySlot next = by_slot_;
  for (Slot slot : slots) {
    AppliedDefinition& definition = next.at(slot);
    definition.set_phase(phase);
    if (phase == AppliedDefinition::ACTIVE) {
      definition.clear_first();
      definition.clear_untold();
    }
    change.definitions.push_back(definition);
  }
  change.rejected = rejected_;
  // What compiled compiles in another phase.
  if (auto rules = Compile(next); rules.ok()) change.rules = *std::move(rules);
  return change;
}

AppliedDefinitions::Change AppliedDefinitions::pause(const std::vector<Slot>& slots, Offset offset,
                                                     Time clock) const {
  Change change;
  // Deadlines end.
  change.edits = true;
  BySlot next = by_slot_;
  for (Slot slot : slots) {
    AppliedDefinition& definition = next.at(slot);
    definition.set_paused(true);
    definition.set_paused_by_guard(true);
    SetChanged({offset, clock, last_change_number_ + 1}, definition);
    definition.clear_first();
    // Otherwise the phase says that some members were told.
    if (!EndsShadow(definition)) definition.set_phase(AppliedDefinition::ACTIVE);
    change.definitions.push_back(definition);
  }
  change.rejected = rejected_;
  if (auto rules = Compile(next); rules.ok()) change.rules = *std::move(rules);
  return change;
}

std::vector<Slot> AppliedDefinitions::in_phase(AppliedDefinition::Phase phase) const {
  std::vector<Slot> slots;
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.phase() == phase && !definition.deleting() && !definition.paused()) {
      slots.push_back(slot);
    }
  }
  return slots;
}

std::vector<Slot> AppliedDefinitions::ready(std::vector<Slot> slots) const {
  absl::flat_hash_set<Slot> ready(slots.begin(), slots.end());
  absl::flat_hash_map<std::string, std::vector<Slot>> outers;
  for (Slot slot : slots) {
    for (std::string& id : ReferencedSegments(by_slot_.at(slot).segment())) {
      outers[std::move(id)].push_back(slot);
    }
  }
  absl::flat_hash_map<std::string, Slot> by_id;
  std::vector<Slot> waiting;
  for (const auto& [slot, definition] : by_slot_) {
    if (!definition.deleting()) by_id.emplace(definition.segment().id(), slot);
    if (Builds(definition) && !ready.contains(slot)) waiting.push_back(slot);
  }
  const auto wait = [&](Slot slot) {
    if (ready.erase(slot) > 0) waiting.push_back(slot);
  };
  absl::flat_hash_set<Slot> asked;
  while (!waiting.empty()) {
    const Segment& segment = by_slot_.at(waiting.back()).segment();
    std::vector<Slot> asking;
    if (segment.has_live()) asking.push_back(waiting.back());
    waiting.pop_back();
    // Whoever refers to one that waits waits too.
    if (const auto found = outers.find(segment.id()); found != outers.end()) {
      for (Slot outer : found->second) wait(outer);
    }
    // So does what a live one that waits filters by, at any depth: what that was before its users'
    // turns is not kept, and the live one has still to be judged by it.
    while (!asking.empty()) {
      const Slot slot = asking.back();
      asking.pop_back();
      if (!asked.insert(slot).second) continue;
      for (const std::string& id : ReferencedSegments(by_slot_.at(slot).segment())) {
        const auto inner = by_id.find(id);
        if (inner == by_id.end()) continue;
        wait(inner->second);
        asking.push_back(inner->second);
      }
    }
  }
  std::erase_if(slots, [&](Slot slot) { return !ready.contains(slot); });
  return slots;
}

absl::StatusOr<std::shared_ptr<const RuleSet>> AppliedDefinitions::compile(
    const std::vector<Slot>& slots) const {
  BySlot some;
  for (Slot slot : slots) some[slot] = by_slot_.at(slot);
  return Compile(some);
}

bool AppliedDefinitions::told(Slot slot, const SegmentState* state) const {
  const auto it = by_slot_.find(slot);
  if (it == by_slot_.end()) return true;
  const AppliedDefinition& definition = it->second;
  if (definition.segment().shadow()) return false;
  if (!definition.untold()) return true;
  if (state == nullptr) return false;
  const bool built = state->built && state->version == definition.segment().version();
  return state->told || (built && EndsShadow(definition));
}

std::vector<Slot> AppliedDefinitions::deleting() const {
  std::vector<Slot> slots;
  for (const auto& [slot, definition] : by_slot_) {
    if (definition.deleting()) slots.push_back(slot);
  }
  return slots;
}

DefinitionStatuses AppliedDefinitions::statuses() const {
  DefinitionStatuses statuses;
  for (const auto& [slot, definition] : by_slot_) {
    DefinitionStatus& status = statuses[definition.segment().id()];
    if (definition.deleting()) {
      status.deleting = true;
    } else {
      status.version = definition.segment().version();
      status.keeps_version = KeepsVersion(definition, Segment());
      status.building = Builds(definition);
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
