#include "segment/engine.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"

#include "segment/compiled_rules.h"
#include "segment/explain.h"
#include "segment/fold.h"
#include "segment/matcher.h"

namespace segmentd {
namespace {

// A base moves on when at least so many facts and writes, and at least so large a part of all, are
// beyond the reach of late events: each is folded twice in all, those that stay are moved up not
// too often, and no single step takes long.
constexpr size_t kWorthFolding = 16;
constexpr size_t kPartWorthFolding = 16;

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

struct Engine::Core {
  Core(std::shared_ptr<const RuleSet> rules_in, Settings settings_in)
      : rules(std::move(rules_in)),
        settings(settings_in),
        matcher(rules->compiled()),
        fold(rules->compiled()) {}

  void use(std::shared_ptr<const RuleSet> next) {
    dropped_before += fold.pendings_dropped;
    refused_before += fold.writes_refused;
    decided_before += fold.segments_decided;
    rules = std::move(next);
    matcher = Matcher(rules->compiled());
    fold = Fold(rules->compiled());
    ++generation;
  }

  const Event& with_common(const Event& record);
  bool take_over(UserState& user);
  void fire(Time until, UserState& user, Changes& out);
  void fold_in_order(const Event& event, EventOrder order, UserState& user, Changes& out);
  // Why all since the base is folded again.
  enum class Again : uint8_t {
    // The event is late: what was told may be wrong.
    kLate,
    // The event is in order, but something that came too late counts from after it.
    kInOrder,
    // The event came too late, and counts from before what was decided.
    kTooLate,
  };
  void fold_again(const Event& event, EventOrder order, Again why, UserState& user, Changes& out);
  // `again` becomes what folding again begins with: of the segments concerned what the base has.
  void begin_again(const UserState& user, bool with_profile);
  // What has come since the activation of a live rule, which had to wait for the user's turn.
  void catch_up(const Rule& rule, const Settled& settled, UserState& user, Changes& out);
  // Of a rule that waits and follows past behaviour alone: as of when it does. Whether that is new.
  bool note_now(const Rule& rule, UserState& user);
  // What was noted; nothing for a user who came later.
  static Settled take_noted(const Rule& rule, UserState& user);
  void settle_again(const Rule& rule, Time from, const Fold::Input& input);
  static Fold::Input input_of(const UserState& user, bool with_profile = true) {
    static const std::vector<ProfileWrite> kNone;
    return {user.facts,
            with_profile ? &user.writes : &kNone,
            {user.exists_since, user.exists_offset},
            user.settled()};
  }
  // The rule's membership in the base has been replaced: the past behaviour that refers to it is
  // evaluated there anew.
  void evaluate_outers_in_base(const Rule& rule, UserState& user);
  // Whether there is something of the user from before the offset.
  static bool known(const UserState& user, Offset before);
  // See Settled; up to the user's now, of which the clock is part. What is older is late from here
  // on.
  void settle(const ActivationPoint& before, UserState& user);
  // All that is known of the user.
  void settle(UserState& user);
  void look_ahead(UserState& user);
  // What came too late and lies ahead is among the user's deadlines.
  void look_at_late(UserState& user);
  void insert_facts(const Event& event, EventOrder order, UserState& user);
  void begin(const Event& event, UserState& user, Changes& out);
  bool measured() const;
  void correct(const Event& event, Fold::Marked own, const UserState& user, Changes& out);
  void insert_writes(const Event& event, Time effective, UserState& user);
  bool seen_before(const Event& event, UserState& user);
  void remember(const Event& event, UserState& user);
  // Messages of the history, which come before those of the stream.
  void remember(absl::Span<const SeenMessage> messages, UserState& user);
  size_t writes_over(const UserState& user) const;
  bool fits_ahead(const Event& event, const UserState& user) const;
  Time waiting_from(Time before, const UserState& user) const;
  void move_base(const Event& event, UserState& user);
  void keep_turns(const UserState& user, FoldState& state);
  void begin_base(UserState& user) {
    if (user.base) return;
    user.base = std::make_unique<Base>();
    keep_turns(user, *user.base);
  }

  std::shared_ptr<const RuleSet> rules;
  Settings settings;
  Matcher matcher;
  Fold fold;
  uint32_t generation = 1;
  EngineCounters counters;
  int64_t dropped_before = 0;
  int64_t refused_before = 0;
  int64_t decided_before = 0;
  // Scratch.
  uint64_t message = 0;
  FoldState again;
  Changes transitions;
  std::vector<const Atom*> atoms;
  std::vector<Fact> added;
  std::vector<ProfileCommand> commands;
  Event enriched;
};

// What the event's context says of common properties comes before its own commands.
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

void Engine::Core::evaluate_outers_in_base(const Rule& rule, UserState& user) {
  const RuleSet::Compiled& compiled = rules->compiled();
  for (Slot slot : rule.dependents) {
    const Rule& outer = compiled.rules[slot];
    const SegmentState* now = user.present.segments.find(slot);
    if (!outer.runs || (now ? !now->built || now->version != outer.version : !outer.built)) {
      continue;
    }
    SegmentState& state = user.base->segments.find_or_add(slot);
    state.version = outer.version;
    state.exit_at = std::min(state.exit_at, user.base->until);
  }
}

bool Engine::Core::known(const UserState& user, Offset before) {
  if (user.exists_since != Time::Max() && user.exists_offset < before) return true;
  const auto is_before = [&](const auto& kept) { return kept.order.offset < before; };
  return std::any_of(user.facts.begin(), user.facts.end(), is_before) ||
         std::any_of(user.writes.begin(), user.writes.end(), is_before);
}

void Engine::Core::settle(const ActivationPoint& before, UserState& user) {
  const Time now = std::max({before.clock, user.newest_event, user.now});
  begin_base(user);
  Base& base = *user.base;
  base.settled = {before.offset, now};
  user.decided = std::max(user.decided, now);
  for (Slot slot : rules->compiled().following) {
    const Rule& rule = rules->compiled().rules[slot];
    const SegmentState* present = user.present.segments.find(slot);
    // What waits is settled for itself.
    if (rule.runs && !(present != nullptr ? present->built : rule.built)) continue;
    const SegmentState* earlier = base.segments.find(slot);
    // What is counted does not depend on other segments.
    Measures counted;
    if (earlier != nullptr) counted = earlier->memory->measures;
    if (present == nullptr && counted.empty()) {
      base.segments.erase(slot);
      continue;
    }
    SegmentState settled;
    settled.slot = slot;
    settled.version = rule.version;
    settled.built = rule.built;
    if (present != nullptr) settled = *present;
    if (!settled.memory.empty() || !counted.empty()) {
      settled.memory.open().measures = std::move(counted);
    }
    if (rule.kind == Rule::Kind::kDateTime && settled.built) {
      fold.read_date(rule, std::max(rule.activation_clock, now), base, settled);
    }
    base.segments.put(std::move(settled));
    evaluate_outers_in_base(rule, user);
  }
  for (Slot slot : rules->compiled().kept_for_others) {
    const SegmentState* present = user.present.segments.find(slot);
    if (present == nullptr || !present->member) continue;
    base.segments.put(*present);
    evaluate_outers_in_base(rules->compiled().rules[slot], user);
  }
  for (Slot slot : rules->compiled().followed_past) {
    const Rule& rule = rules->compiled().rules[slot];
    const SegmentState* present = user.present.segments.find(slot);
    if (present == nullptr && base.segments.find(slot) == nullptr) continue;
    SegmentState& settled = base.segments.find_or_add(slot);
    settled.version = rule.version;
    settled.built = present != nullptr ? present->built : rule.built;
    settled.member = present != nullptr && present->member;
    settled.told = present != nullptr && present->told;
    settled.since = present != nullptr ? present->since : Time::Min();
    settled.exit_at = now;
    evaluate_outers_in_base(rule, user);
  }
}

void Engine::Core::settle(UserState& user) {
  if (user.exists_since == Time::Max()) return;
  Offset before = std::max(user.settled().before, user.exists_offset.next());
  for (const Fact& fact : user.facts) before = std::max(before, fact.order.offset.next());
  for (const ProfileWrite& write : user.writes) {
    before = std::max(before, write.order.offset.next());
  }
  settle({before, user.now}, user);
}

bool Engine::Core::take_over(UserState& user) {
  if (user.rules_generation == generation) return false;
  user.rules_generation = generation;
  const RuleSet::Compiled& compiled = rules->compiled();
  bool changed = false;
  for (SegmentState& segment : user.present.segments) {
    if (segment.slot >= compiled.rules.size()) continue;
    const Rule& rule = compiled.rules[segment.slot];
    if (!rule.runs) {
      // Another version builds all anew.
      if (rule.telling && segment.built && segment.member && !segment.told) {
        segment.told = true;
        changed = true;
      }
      // Whatever is folded again finds the membership as it stands still, and so do those that
      // refer to it.
      if (!rule.dependents.empty()) begin_base(user);
      if (user.base) {
        user.base->segments.put(segment);
        evaluate_outers_in_base(rule, user);
      }
      continue;
    }
    if (segment.version == rule.version) continue;
    SegmentState taken;
    taken.slot = segment.slot;
    taken.version = rule.version;
    taken.built = rule.built;
    taken.since = segment.since;
    if (segment.member) {
      taken.member = true;
      taken.told = segment.told;
      taken.trigger = kNoTrigger;
      taken.cause_at = segment.cause_at;
      // Images of older formats have a date's value in both.
      if (segment.memory->joined_value != 0 &&
          segment.memory->joined_value != segment.memory->read_value) {
        taken.memory.open().joined_value = segment.memory->joined_value;
      }
      if (rule.exit == Rule::Exit::kAfter) {
        taken.exit_at = std::max(rule.activation_clock, user.newest_event) + rule.exit_after;
      }
    }
    segment = taken;
    changed = true;
    // The base of this version is the membership at its activation, whatever the facts before it
    // were.
    begin_base(user);
    user.base->segments.put(taken);
    evaluate_outers_in_base(rule, user);
  }
  const ActivationPoint& change = compiled.settled_before;
  // Between two records there may be several.
  const Settled settled = user.settled();
  const bool is_new = settled.before < change.offset ||
                      (settled.before == change.offset && settled.at < change.clock);
  if (is_new && known(user, change.offset)) {
    settle(change, user);
    changed = true;
  }
  for (Slot slot : compiled.waiting) changed = note_now(compiled.rules[slot], user) || changed;
  // What only said that the user had had their turn.
  const auto says_nothing = [&](const SegmentState& segment) {
    return segment.slot < compiled.rules.size() &&
           SaysNothing(compiled.rules[segment.slot], segment);
  };
  // Saved images may name its slot: they are to be saved anew.
  changed = user.present.segments.erase_if(says_nothing) > 0 || changed;
  if (user.base) {
    const auto forgotten = [&](const SegmentState& segment) {
      if (segment.slot >= compiled.rules.size()) return false;
      const Rule& rule = compiled.rules[segment.slot];
      // Before the user is there it says that the segment is evaluated when they come.
      const bool waits = !user.base->exists && rule.kind == Rule::Kind::kPast;
      if (says_nothing(segment) && !waits) return true;
      // Of an earlier version, or of before a pause, which the present has nothing of.
      return (!rule.runs || segment.version != rule.version) &&
             user.present.segments.find(segment.slot) == nullptr;
    };
    changed = user.base->segments.erase_if(forgotten) > 0 || changed;
  }
  // The deadlines of a segment that is being deleted are none any more.
  const Time next_deadline = user.next_deadline;
  fold.note_deadlines(user.present);
  look_ahead(user);
  return changed || user.next_deadline != next_deadline;
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

// Deadlines and what came too late, one moment after the other, up to and including `until`.
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

void Engine::Core::remember(absl::Span<const SeenMessage> messages, UserState& user) {
  absl::flat_hash_set<uint64_t> known;
  for (const SeenMessage& seen : user.seen) known.insert(seen.id);
  std::vector<SeenMessage> unseen;
  for (const SeenMessage& earlier : messages) {
    if (known.insert(earlier.id).second) unseen.push_back(earlier);
  }
  user.seen.insert(user.seen.begin(), unseen.begin(), unseen.end());
  if (user.seen.size() <= settings.max_message_ids) return;
  const auto over = static_cast<ptrdiff_t>(user.seen.size() - settings.max_message_ids);
  user.seen.erase(user.seen.begin(), user.seen.begin() + over);
  counters.message_ids_dropped += over;
}

// A user whose first record came too late exists from its time on, though it counts later.
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

// The event came after something that it precedes: its facts take their place, and all since the
// base is folded again.
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

void Engine::Core::begin_again(const UserState& user, bool with_profile) {
  again = FoldState();
  if (user.base) {
    again.exists = user.base->exists;
    if (with_profile) again.profile = user.base->profile;
    for (const SegmentState& segment : user.base->segments) {
      if (fold.concerns(segment.slot)) again.segments.put(segment);
    }
  } else {
    keep_turns(user, again);
  }
  fold.note_deadlines(again);
}

// While the user is as they were then: before anything else of theirs comes in.
bool Engine::Core::note_now(const Rule& rule, UserState& user) {
  const SegmentState* present = user.present.segments.find(rule.slot);
  if (present != nullptr && present->built && present->version == rule.version) return false;
  const ActivationPoint& since = rule.followed_since;
  if (!known(user, since.offset)) return false;
  begin_base(user);
  SegmentState& waits = user.base->segments.find_or_add(rule.slot);
  if (waits.version != rule.version) {
    waits = SegmentState();
    waits.slot = rule.slot;
    waits.version = rule.version;
  }
  waits.built = false;
  const auto offset = static_cast<uint64_t>(since.offset.value());
  const Occurrences& noted = waits.memory->occurrences;
  // Between two records there may be several.
  if (!noted.empty() && noted[0].value == offset && noted[0].at >= since.clock) return false;
  const Time now = std::max({since.clock, user.newest_event, user.now});
  waits.memory.open().occurrences = {{offset, now, Time::Max()}};
  return true;
}

Settled Engine::Core::take_noted(const Rule& rule, UserState& user) {
  SegmentState* waits = user.base ? user.base->segments.find(rule.slot) : nullptr;
  if (waits == nullptr || waits->built || waits->memory->occurrences.empty()) return {};
  const Occurrence noted = waits->memory->occurrences[0];
  waits->memory.open().occurrences.clear();
  return {Offset(static_cast<int64_t>(noted.value)), noted.at};
}

void Engine::Core::catch_up(const Rule& rule, const Settled& settled, UserState& user,
                            Changes& out) {
  fold.restrict(absl::MakeConstSpan(&rule.slot, 1));
  begin_again(user, fold.reads_profile());
  transitions.clear();
  Fold::Marked unused;
  Fold::Input input = input_of(user, fold.reads_profile());
  if (rule.follows_past && user.base) {
    // Whatever the user was settled for since.
    input.settled = settled;
    settle_again(rule, user.base->until, input);
  }
  if (rule.kind == Rule::Kind::kDateTime && rule.follows) {
    // Among what the base has read may be moments that are over.
    fold.read_date(rule, std::max(rule.activation_clock, input.settled.at), again,
                   *again.segments.find(rule.slot));
    fold.note_deadlines(again);
  }
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run(input, user.now, {}, again, user.decided, transitions, unused);
  fold.counted_from = Offset();
  fold.unrestrict();
  user.present.segments.put(std::move(*again.segments.find(rule.slot)));
  std::copy_if(transitions.begin(), transitions.end(), std::back_inserter(out),
               [&](const Change& change) { return change.slot == rule.slot; });
}

// In `again`, which stands where the base does, at `from`, the past behaviour that the rule follows
// becomes what it was at the moment that the user is settled for (nothing: goes on from there): of
// past behaviour all is counted, so that can be told.
void Engine::Core::settle_again(const Rule& rule, Time from, const Fold::Input& input) {
  const Settled& settled = input.settled;
  const Time at = settled.before == Offset() ? from : settled.at;
  std::vector<Fact> facts;
  std::copy_if(input.facts.begin(), input.facts.end(), std::back_inserter(facts),
               [&](const Fact& fact) { return fact.order.offset < settled.before; });
  std::vector<ProfileWrite> writes;
  std::copy_if(input.writes->begin(), input.writes->end(), std::back_inserter(writes),
               [&](const ProfileWrite& write) { return write.order.offset < settled.before; });
  FoldState then = again;
  for (SegmentState& segment : then.segments) {
    // Evaluated at once. Not before the base: calendar periods would turn one after the other.
    segment.exit_at = std::min(from, at);
    if (segment.slot == rule.slot) segment.built = false;
  }
  fold.note_deadlines(then);
  Time decided;
  Changes untold;
  Fold::Marked unused;
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run({facts, &writes, input.exists_from, {}}, at, {}, then, decided, untold, unused);
  const auto become = [&](SegmentState& inner) {
    if (inner.slot == rule.slot) return;
    const SegmentState* was = then.segments.find(inner.slot);
    inner.member = was != nullptr && was->member;
    inner.exit_at = at;
  };
  for (SegmentState& segment : again.segments) become(segment);
  for (const SegmentState& segment : then.segments) {
    if (again.segments.find(segment.slot) != nullptr) continue;
    SegmentState& inner = again.segments.find_or_add(segment.slot);
    inner.version = segment.version;
    inner.built = segment.built;
    become(inner);
  }
  fold.note_deadlines(again);
}

// Tells the difference between the present and `again`, which a late event has made of it. Of the
// present only the memberships are left: the rest may have been moved to `again`.
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

// In a state as of before everything, memberships that stand still are as they are, and whoever had
// their turn before a rule was built for everybody goes on having had it.
void Engine::Core::keep_turns(const UserState& user, FoldState& state) {
  const RuleSet::Compiled& compiled = rules->compiled();
  for (const SegmentState& segment : user.present.segments) {
    if (segment.slot >= compiled.rules.size() || !fold.concerns(segment.slot)) continue;
    const Rule& rule = compiled.rules[segment.slot];
    if (!rule.runs) {
      state.segments.put(segment);
      continue;
    }
    if (rule.built || !segment.built || segment.version != rule.version) continue;
    SegmentState& kept = state.segments.find_or_add(segment.slot);
    kept.version = segment.version;
    kept.built = true;
  }
}

// How many of the oldest are too many, by number or by bytes.
size_t Engine::Core::writes_over(const UserState& user) const {
  const size_t size = user.writes.size();
  const size_t over = size > settings.max_facts ? size - settings.max_facts : 0;
  size_t bytes = 0;
  for (size_t i = size; i-- > over;) {
    bytes += user.writes[i].bytes();
    if (bytes > kMaxWriteBytes) return i + 1;
  }
  return over;
}

// Whether what came too late leaves what lies ahead of the present within the bounds: the base
// can't take that in yet.
bool Engine::Core::fits_ahead(const Event& event, const UserState& user) const {
  const Time reached = std::max(user.newest_event, event.record_time - settings.deadline_grace);
  size_t facts = 0;
  for (const Hit& hit : matcher.hits()) facts += rules->compiled().atoms[hit.atom].measured ? 1 : 0;
  for (auto fact = user.facts.rbegin(); fact != user.facts.rend(); ++fact) {
    if (fact->order.time <= reached) break;
    if (++facts > settings.max_facts) return false;
  }
  size_t writes = event.profile.size();
  size_t bytes = 0;
  for (const ProfileCommand& command : event.profile) {
    bytes += command.property.size() + OwnedValue(command.value).bytes();
  }
  for (auto write = user.writes.rbegin(); write != user.writes.rend(); ++write) {
    if (write->effective <= reached) break;
    if (++writes > settings.max_facts) return false;
    bytes += write->bytes();
    if (bytes > kMaxWriteBytes) return false;
  }
  return facts <= settings.max_facts && writes <= settings.max_facts && bytes <= kMaxWriteBytes;
}

// Of what is older than `before`, where that begins which may be left for a live rule to catch up
// with: its dates lie behind the activation, its events may come late.
Time Engine::Core::waiting_from(Time before, const UserState& user) const {
  const ActivationPoint& building = *rules->compiled().building;
  before = std::min(before, building.clock);
  for (const Fact& fact : user.facts) {
    if (fact.order.time >= before) break;
    if (fact.order.offset >= building.offset) before = fact.order.time;
  }
  for (const ProfileWrite& write : user.writes) {
    if (write.effective >= before) break;
    if (write.order.offset >= building.offset) before = write.effective;
  }
  return before;
}

// Decided by the user's own records alone, so that every replay has the same base.
void Engine::Core::move_base(const Event& event, UserState& user) {
  const size_t all = user.facts.size() + user.writes.size();
  if (all < kWorthFolding) return;
  const auto cut = [&](Time before, size_t* facts, size_t* writes) {
    *facts = static_cast<size_t>(
        std::partition_point(user.facts.begin(), user.facts.end(),
                             [&](const Fact& f) { return f.order.time < before; }) -
        user.facts.begin());
    *writes = static_cast<size_t>(
        std::partition_point(user.writes.begin(), user.writes.end(),
                             [&](const ProfileWrite& w) { return w.effective < before; }) -
        user.writes.begin());
  };
  const size_t facts_over =
      user.facts.size() > settings.max_facts ? user.facts.size() - settings.max_facts : 0;
  // Without a new one there are no more than there were.
  const size_t writes_over = event.profile.empty() ? 0 : this->writes_over(user);
  const bool over = facts_over > 0 || writes_over > 0;
  size_t facts = 0;
  size_t writes = 0;
  Time before = user.newest_event - settings.max_lateness;
  if (rules->compiled().building) before = waiting_from(before, user);
  const bool all_in_reach = (user.facts.empty() || user.facts.front().order.time >= before) &&
                            (user.writes.empty() || user.writes.front().effective >= before);
  if (all_in_reach && !over) return;
  cut(before, &facts, &writes);
  const size_t out_of_reach = facts + writes;
  if (out_of_reach < kWorthFolding || out_of_reach * kPartWorthFolding < all ||
      facts < facts_over || writes < writes_over) {
    if (!over) return;
    // Past the bound the oldest eighth goes, cut between two moments, and at least what is over: a
    // larger part makes this step longer, a smaller one such steps frequent. Not what lies ahead,
    // though: the base must not overtake the present.
    const Time reached = std::max(user.newest_event, event.record_time - settings.deadline_grace);
    const Time oldest_kept = facts_over > 0 ? user.facts[user.facts.size() / 8].order.time
                                            : user.writes[user.writes.size() / 8].effective;
    before = std::max(before, std::min(oldest_kept, reached));
    cut(before, &facts, &writes);
    if (facts < facts_over || writes < writes_over) {
      Time last = Time::Min();
      if (facts_over > 0) last = user.facts[facts_over - 1].order.time;
      if (writes_over > 0) last = std::max(last, user.writes[writes_over - 1].effective);
      before = std::max(before, std::min(last, reached) + Duration::Millis(1));
      cut(before, &facts, &writes);
    }
    counters.facts_dropped += static_cast<int64_t>(facts + writes - out_of_reach);
  }
  if (facts + writes == 0) return;
  // With the deadlines up to there: a filter must not see the writes after them.
  begin_base(user);
  Base& base = *user.base;
  base.until = std::max(base.until, before - Duration::Millis(1));
  fold.note_deadlines(base);
  transitions.clear();
  Fold::Marked unused;
  Time decided = Time::Min();
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run(input_of(user), base.until, {}, base, decided, transitions, unused);
  fold.counted_from = Offset();
  const uint32_t gone_facts = base.facts_applied;
  const uint32_t gone_writes = base.writes_applied;
  base.facts_applied = 0;
  base.writes_applied = 0;
  user.facts.erase(user.facts.begin(), user.facts.begin() + gone_facts);
  user.writes.erase(user.writes.begin(), user.writes.begin() + gone_writes);
  user.present.facts_applied -= gone_facts;
  user.present.writes_applied -= gone_writes;
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
  const bool beyond_base = event.time < user.base_time();
  if (event.time < event.record_time - settings.max_lateness ||
      (newest != Time::Min() && event.time < newest - settings.max_lateness) || beyond_base) {
    if (beyond_base) ++core.counters.facts_dropped;
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

bool Engine::build(Slot slot, Time clock, const Past* past, Reason reason, UserState& user,
                   Changes& out) {
  Core& core = *core_;
  core.take_over(user);
  const Rule& rule = core.rules->compiled().rules[slot];
  const SegmentState* present = user.present.segments.find(slot);
  // Before anything is done to a user whom nobody saves for it.
  if (present && present->built && present->version == rule.version) return false;
  core.fire(clock, user, out);

  const auto recorded = [&](const ProfileWrite& write) {
    return std::any_of(user.writes.begin(), user.writes.end(), [&](const ProfileWrite& of_stream) {
      return of_stream.order == write.order && of_stream.property == write.property;
    });
  };
  // Of the same event: its own commands come after its context.
  const auto applied = [](const ProfileWrite& write, const Profile& profile) {
    return std::any_of(profile.properties().begin(), profile.properties().end(),
                       [&](const Profile::Property& property) {
                         return property.newest == write.order && property.name == write.property;
                       });
  };
  const auto add_common = [&](FoldState& state) {
    if (past == nullptr) return;
    for (const ProfileWrite& write : past->common) {
      // Others have read the property, and the write has its place among those kept. In the base it
      // would make all that came before it look outdated.
      if (recorded(write) || applied(write, state.profile)) continue;
      const bool refused = !state.profile.apply(write);
      if (refused && &state == &user.present) ++core.fold.writes_refused;
    }
  };
  const auto add = [&](Time at, FoldState& state, Changes& told) {
    SegmentState& segment = state.segments.find_or_add(slot);
    segment.version = rule.version;
    add_common(state);
    if (past != nullptr && !past->measures.empty()) {
      Measures& measures = segment.memory.open().measures;
      measures.resize(rule.measures.size());
      for (size_t i = 0; i < rule.measures.size(); ++i) {
        rule.measures[i].merge(past->measures[i], at, measures[i]);
      }
      if (rule.kind != Rule::Kind::kPast) {
        segment.memory.open().counted_at = std::max(rule.activation_clock, past->newest);
      }
    }
    core.fold.build(slot, at, reason, state, told);
  };
  // Also of a rule that by now follows what is paused or going: it must not be taken for something
  // that waits.
  const Settled noted = Core::take_noted(rule, user);
  // The past belongs before all that a late event can reach.
  if (past != nullptr) core.begin_base(user);
  if (user.base) {
    core.transitions.clear();
    Base& base = *user.base;
    add(base.until, base, core.transitions);
    if (rule.kind == Rule::Kind::kPast && rule.followed && base.settled.at > base.until) {
      // Until the user was settled it was what it was then.
      SegmentState& settled = base.segments.find_or_add(slot);
      Time until;
      settled.member = core.fold.holds(rule, 0, base, base.settled.at, &until);
      settled.exit_at = base.settled.at;
    }
  }
  const Time at = std::max(clock, user.newest_event);
  if (rule.kind == Rule::Kind::kPast) {
    add(at, user.present, out);
  } else {
    add_common(user.present);
    SegmentState& segment = user.present.segments.find_or_add(slot);
    segment.version = rule.version;
    segment.built = true;
    segment.told = false;
    core.catch_up(rule, noted, user, out);
    core.fold.reach_outers(slot, at, user.present, out);
  }

  if (past != nullptr && !past->messages.empty()) core.remember(past->messages, user);
  core.fold.note_deadlines(user.present);
  core.look_ahead(user);
  core.fire(std::max(clock, user.newest_event), user, out);
  // What is older is late.
  if (user.present.exists) {
    user.decided = std::max({user.decided, clock, user.newest_event});
  }
  return true;
}

void Engine::end_turn(absl::Span<const Slot> built, UserState& user) {
  const auto& rules = core_->rules->compiled().rules;
  if (std::any_of(built.begin(), built.end(),
                  [&](Slot slot) { return rules[slot].follows || rules[slot].followed; })) {
    core_->settle(user);
  }
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
