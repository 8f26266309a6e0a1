#include "segment/engine.h"

#include <algorithm>
#include <utility>

#include "segment/engine_core.h"
#include "segment/explain.h"

namespace segmentd {
namespace {

EventOrder LastApplied(const UserState& user) {
  EventOrder last;
  if (const uint32_t n = user.present.writes_applied; n > 0)
    last = user.writes[n - 1].effective_order();
  if (const uint32_t n = user.present.facts_applied; n > 0) {
    last = std::max(last, user.facts[n - 1].order);
  }
  return last;
}

}  // namespace

Engine::Core::Core(std::shared_ptr<const RuleSet> rules_in, Settings settings_in)
    : rules(std::move(rules_in)),
      settings(settings_in),
      matcher(rules->compiled()),
      fold(rules->compiled()) {}

void Engine::Core::use(std::shared_ptr<const RuleSet> next) {
  dropped_before += fold.pendings_dropped;
  refused_before += fold.writes_refused;
  decided_before += fold.segments_decided;
  rules = std::move(next);
  matcher = Matcher(rules->compiled());
  fold = Fold(rules->compiled());
  ++generation;
}

Fold::Input Engine::Core::input_of(const UserState& user, bool with_profile) const {
  static const std::vector<ProfileWrite> kNone;
  return {user.facts,
          with_profile ? &user.writes : &kNone,
          {user.exists_since, user.exists_offset},
          user.settled()};
}

const Event& Engine::Core::with_common(const Event& record) {
  const auto& common = rules->compiled().common;
  if (common.empty()) return record;
  commands.clear();
  for (const auto& [field, property] : common) {
    const EventProperty* said = FindProperty(record.properties, field);
    if (said != nullptr) commands.push_back({ProfileOperation::kSet, property, said->value});
  }
  if (commands.empty()) return record;
  commands.insert(commands.end(), record.profile.begin(), record.profile.end());
  enriched = record;
  enriched.profile = commands;
  return enriched;
}

void Engine::Core::look_ahead(UserState& user) {
  user.next_deadline = fold.next_deadline(user.present);
  look_at_late(user);
}

void Engine::Core::look_at_late(UserState& user) {
  if (const uint32_t n = user.present.writes_applied; n < user.writes.size()) {
    user.next_deadline = std::min(user.next_deadline, user.writes[n].effective);
  }
  if (const uint32_t n = user.present.facts_applied; n < user.facts.size()) {
    user.next_deadline = std::min(user.next_deadline, user.facts[n].order.time);
  }
}

void Engine::Core::fire(Time until, UserState& user, Changes& out) {
  user.now = std::max(user.now, until);
  if (user.next_deadline > until || user.next_deadline == Time::Max()) return;
  Fold::Marked unused;
  fold.run(input_of(user), until, {}, user.present, user.decided, out, unused);
  look_ahead(user);
}

void Engine::Core::insert_facts(const Event& event, EventOrder order, UserState& user) {
  const auto at = std::upper_bound(user.facts.begin(), user.facts.end(), order,
                                   [](const EventOrder& o, const Fact& f) { return o < f.order; });
  const bool too_late = event.time < order.time;
  added.clear();
  for (const Hit& hit : matcher.hits()) {
    const Atom& atom = rules->compiled().atoms[hit.atom];
    if (too_late ? !atom.measured : !atom.kept) continue;
    added.push_back({order, atom.fingerprint, hit.value, event.time});
  }
  // At once: what stands behind is moved once.
  user.facts.insert(at, added.begin(), added.end());
}

void Engine::Core::insert_writes(const Event& event, Time effective, UserState& user) {
  for (const ProfileCommand& command : event.profile) {
    ProfileWrite write;
    write.order = {event.time, event.offset};
    write.effective = effective;
    write.operation = command.operation;
    write.property = std::string(command.property);
    write.value = OwnedValue(command.value);
    // No profile takes it.
    if (write.value.bytes() > kMaxProfileBytes) {
      ++fold.writes_refused;
      continue;
    }
    const auto at = std::upper_bound(user.writes.begin(), user.writes.end(), write,
                                     [](const ProfileWrite& a, const ProfileWrite& b) {
                                       return a.effective_order() < b.effective_order();
                                     });
    user.writes.insert(at, std::move(write));
  }
}

bool Engine::Core::seen_before(const Event& event, UserState& user) {
  message = event.message_id.empty() ? 0 : ValueFingerprint(Value::String(event.message_id));
  if (message == 0) return false;
  const Time oldest = event.record_time - settings.max_lateness;
  return std::any_of(user.seen.begin(), user.seen.end(), [&](const SeenMessage& seen) {
    return seen.id == message && seen.record_time >= oldest;
  });
}

void Engine::Core::remember(const Event& event, UserState& user) {
  if (message == 0) return;
  const Time oldest = event.record_time - settings.max_lateness;
  // Pruned at sizes that double, not at capacities: what is kept must not depend on when the state
  // was last loaded.
  const size_t size = user.seen.size();
  if (size >= settings.max_message_ids || (size >= 8 && (size & (size - 1)) == 0)) {
    user.seen.erase(std::remove_if(user.seen.begin(), user.seen.end(),
                                   [&](const SeenMessage& s) { return s.record_time < oldest; }),
                    user.seen.end());
    if (user.seen.size() >= settings.max_message_ids) {
      user.seen.erase(user.seen.begin());
      ++counters.message_ids_dropped;
    }
  }
  user.seen.push_back({message, event.record_time, event.offset});
}

void Engine::Core::begin(const Event& event, UserState& user, Changes& out) {
  if (user.present.exists) return;
  fold.begin_step();
  fold.step({{event.time, event.offset}, event.time, event.name, event.message_id}, user.present,
            out);
  look_ahead(user);
}

bool Engine::Core::measured() const {
  return std::any_of(matcher.hits().begin(), matcher.hits().end(),
                     [&](const Hit& hit) { return rules->compiled().atoms[hit.atom].measured; });
}

void Engine::Core::fold_in_order(const Event& event, EventOrder order, UserState& user,
                                 Changes& out) {
  fire(event.time, user, out);
  insert_writes(event, event.time, user);
  fold.begin_step();
  fold.apply_writes(user.writes, order, user.present);
  for (const Hit& hit : matcher.hits()) {
    const Atom& atom = rules->compiled().atoms[hit.atom];
    fold.hit(atom, hit.value, order, event.time);
    if (!atom.kept) continue;
    // What came too late may lie ahead.
    const auto at = user.facts.begin() + user.present.facts_applied++;
    user.facts.insert(at, {order, atom.fingerprint, hit.value, event.time});
  }
  if (!fold.touched(user.present)) return;
  fold.step({order, event.time, event.name, event.message_id}, user.present, out);
  user.next_deadline = fold.next_deadline(user.present, user.next_deadline);
  look_at_late(user);
}

void Engine::Core::fold_again(const Event& event, EventOrder order, Again why, UserState& user,
                              Changes& out) {
  const RuleSet::Compiled& compiled = rules->compiled();
  atoms.clear();
  for (const Hit& hit : matcher.hits()) atoms.push_back(&compiled.atoms[hit.atom]);
  fold.restrict(atoms, event.profile);
  const bool with_profile = fold.reads_profile() || !event.profile.empty();
  begin_again(user, with_profile);
  transitions.clear();
  Fold::Marked own;
  const Fold::Input input = input_of(user, with_profile);
  fold.counted_from = event.offset;
  fold.run(input, std::max(user.now, event.time), order, again, user.decided, transitions, own);
  fold.counted_from = Offset();
  if (!with_profile) {
    again.profile = std::move(user.present.profile);
    again.writes_applied = user.present.writes_applied;
  }

  // Segments that the event does not concern; those whose facts are not kept: the event can only
  // add a first qualification; and those being deleted: their members leave by remove(). Moved, not
  // copied: of the present only the memberships are looked at from here on.
  for (SegmentState& segment : user.present.segments) {
    if (segment.slot >= compiled.rules.size()) continue;
    const Rule& rule = compiled.rules[segment.slot];
    if (fold.concerns(segment.slot) && rule.runs && !rule.order_free) continue;
    again.segments.put(std::move(segment));
  }
  fold.unrestrict();
  fold.note_deadlines(again);
  const size_t of_facts = transitions.size();
  fold.begin_step();
  for (const Hit& hit : matcher.hits()) {
    if (why == Again::kTooLate) break;
    fold.hit(compiled.atoms[hit.atom], hit.value, order, event.time, Fold::Among::kOrderFree);
  }
  if (fold.touched(again)) {
    fold.step({order, event.time, event.name, event.message_id}, again, transitions);
  }
  if (why != Again::kInOrder) {
    correct(event, own, user, out);
  } else {
    // Nothing was told of what the event's own step and the deadlines after it have changed.
    const auto tell = [&](size_t begin, size_t end) {
      out.insert(out.end(), transitions.begin() + static_cast<ptrdiff_t>(begin),
                 transitions.begin() + static_cast<ptrdiff_t>(end));
    };
    for (size_t i = own.begin; i < own.end; ++i) {
      transitions[i].cause_message_id = event.message_id;
    }
    tell(own.begin, own.end);
    tell(of_facts, transitions.size());
    tell(own.end, of_facts);
  }
  std::swap(user.present, again);
  look_ahead(user);
}

void Engine::Core::correct(const Event& event, Fold::Marked own, const UserState& user,
                           Changes& out) {
  for (size_t i = own.begin; i < own.end; ++i) {
    if (transitions[i].action != segments::v1::QUALIFIED) continue;
    // Never corrected, but this qualification has not been told yet; only a member's may be.
    const SegmentState* now = again.segments.find(transitions[i].slot);
    if (!now || !now->member || !IsMember(user, transitions[i].slot)) continue;
    Change change = transitions[i];
    change.reason = segments::v1::LATE_EVENT;
    change.cause_message_id = event.message_id;
    out.push_back(change);
  }
  const auto compare = [&](Slot slot, bool is_member) {
    if (IsMember(user, slot) == is_member) return;
    Change change{is_member ? segments::v1::ADD : segments::v1::REMOVE,
                  slot,
                  event.time,
                  segments::v1::LATE_EVENT,
                  event.name,
                  event.time,
                  event.message_id};
    const SegmentState* now = again.segments.find(slot);
    if (now && now->since != Time::Min()) change.at = now->since;
    out.push_back(change);
  };
  for (const SegmentState& segment : again.segments) compare(segment.slot, segment.member);
  // States that the second fold did not make: whoever was a member of those is none.
  for (const SegmentState& segment : user.present.segments) {
    if (!again.segments.find(segment.slot)) compare(segment.slot, false);
  }
}

Engine::Engine(std::shared_ptr<const RuleSet> rules, Settings settings)
    : core_(std::make_unique<Core>(std::move(rules), settings)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Outcome Engine::apply(const Event& record, Time clock, UserState& user, Changes& out) {
  Core& core = *core_;
  const Event& event = core.with_common(record);
  const Settings& settings = core.settings;
  core.take_over(user);
  core.fire(std::max(clock, event.record_time - settings.deadline_grace), user, out);
  if (core.seen_before(event, user)) return Outcome::kDuplicate;
  if (event.time < user.exists_since) {
    user.exists_since = event.time;
    user.exists_offset = event.offset;
  }

  const EventOrder order{event.time, event.offset};
  const Time newest = user.newest_event;
  user.newest_event = std::max(newest, event.time);
  const bool too_late = event.time < event.record_time - settings.max_lateness ||
                        (newest != Time::Min() && event.time < newest - settings.max_lateness);
  const bool beyond_base = event.time < user.base_time();
  if (too_late || beyond_base) {
    // Only a bound makes it so.
    if (!too_late) ++core.counters.facts_dropped;
    core.matcher.match(event);
    core.begin(event, user, out);
    core.fire(event.time, user, out);
    const bool counted = core.measured();
    if (!counted && event.profile.empty()) return Outcome::kTooLate;
    if (!core.fits_ahead(event, user)) {
      ++core.counters.facts_dropped;
      return Outcome::kTooLate;
    }
    const EventOrder effective{std::max(event.record_time, user.newest_event), event.offset};
    const bool in_order = effective.time >= user.decided && LastApplied(user) < effective;
    if (counted) core.insert_facts(event, effective, user);
    core.insert_writes(event, effective.time, user);
    core.remember(event, user);
    if (in_order) {
      core.look_ahead(user);
    } else {
      core.fold_again(event, effective, Core::Again::kTooLate, user, out);
    }
    core.fire(user.now, user, out);
    core.move_base(event, user);
    return Outcome::kTooLate;
  }

  // Past behaviour may have changed at a moment from which something that came too late counts:
  // that is decided as a deadline is.
  // Nothing that was applied lies after what is newer than all events and moments before it.
  const bool newest_of_all = event.time > newest && event.time > user.now;
  const bool after = !newest_of_all && LastApplied(user) > order;
  const bool late = event.time < newest || event.time < user.decided ||
                    (after && core.rules->compiled().has_past);
  core.matcher.match(event);
  if (core.matcher.hits().empty() && event.profile.empty() && user.present.exists) {
    core.fire(event.time, user, out);
    return late ? Outcome::kLate : Outcome::kApplied;
  }
  if (!core.matcher.hits().empty() || !event.profile.empty()) core.remember(event, user);
  if (late || after) {
    core.insert_writes(event, event.time, user);
    core.insert_facts(event, order, user);
    core.fold_again(event, order, late ? Core::Again::kLate : Core::Again::kInOrder, user, out);
  } else {
    core.fold_in_order(event, order, user, out);
  }
  core.fire(std::max(user.now, event.time), user, out);
  core.move_base(event, user);
  return late ? Outcome::kLate : Outcome::kApplied;
}

void Engine::advance(Time clock, UserState& user, Changes& out) {
  core_->take_over(user);
  core_->fire(clock, user, out);
}

void Engine::use(std::shared_ptr<const RuleSet> rules) {
  core_->use(std::move(rules));
}

bool Engine::take_over(UserState& user) {
  return core_->take_over(user);
}

bool Engine::remove(Slot slot, Time clock, UserState& user, Changes& out) {
  Core& core = *core_;
  core.take_over(user);
  if (user.present.segments.find(slot) == nullptr &&
      (!user.base || user.base->segments.find(slot) == nullptr)) {
    return false;
  }
  const Rule& rule = core.rules->compiled().rules[slot];
  const Time at = std::max({clock, user.newest_event, user.now});
  const bool member = IsMember(user, slot);
  // For those that refer to it nothing changes otherwise.
  const bool changes = member && !rule.outer.empty();
  // Whatever is evaluated below is so as of then.
  if (changes) core.fire(at, user, out);
  user.present.segments.erase(slot);
  if (user.base && user.base->segments.erase(slot)) core.evaluate_outers_in_base(rule, user);
  if (member) {
    out.push_back({segments::v1::REMOVE, slot, at, segments::v1::SEGMENT_DELETED, {}, Time(), {}});
  }
  if (changes) {
    core.fold.reach_outers(slot, at, user.present, out);
    // What is older is late.
    if (user.present.exists) user.decided = std::max(user.decided, at);
  }
  core.look_ahead(user);
  if (changes && rule.followed) core.settle(user);
  return true;
}

segments::v1::Explanation Engine::explain(Slot slot, Time clock, const UserState& user) const {
  return ExplainMembership(*core_->rules, slot, std::max({clock, user.newest_event, user.now}),
                           user);
}

const RuleSet& Engine::rules() const {
  return *core_->rules;
}
const Settings& Engine::settings() const {
  return core_->settings;
}
const EngineCounters& Engine::counters() const {
  core_->counters.pendings_dropped = core_->dropped_before + core_->fold.pendings_dropped;
  core_->counters.profile_writes_refused = core_->refused_before + core_->fold.writes_refused;
  core_->counters.segments_decided = core_->decided_before + core_->fold.segments_decided;
  return core_->counters;
}

}  // namespace segmentd
