#include "tests/property/oracle.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>

#include "tests/property/conditions.h"

namespace segmentd::property {

namespace pb = segments::v1;

// -- F --------------------------------------------------------------------------------------------

namespace {

// So many instances of a sequence wait for absences; the oldest goes.
constexpr int64_t kMostWaiting = 25;

// A moment already further in the past when it becomes known does not count.
constexpr Duration kTooOld = Duration::Hours(1);

// How long a member stays that joined on a date.
constexpr Duration kStay = Duration::Days(1);

// Whoever qualified once is a member for good, whatever the order of events.
bool EverQualified(const pb::Segment& segment) {
  const pb::Live& live = segment.live();
  return (live.has_actions() || live.has_page_visit()) && !live.has_filter() &&
         !live.exit().has_after() && live.exit().on_size() == 0;
}

}  // namespace

// A user's life under all definitions that matter, from its beginning.
class Oracle::Walk {
 public:
  Walk(const Oracle& oracle, const User& user);
  Prospect run(Time upto);

 private:
  // A version.
  struct Part : Life {
    Number number = 0;
    const Version* version = nullptr;
    Start start;
    bool current = false;
    Outlook out;
    // The last step in which it was evaluated, and in which its membership changed.
    int settled = 0;
    int changed = 0;
    // Of past behaviour: the user's turn has come; and changes are looked for.
    bool counts = false;
    bool begun = false;

    const pb::Live& live() const { return version->segment.live(); }
    bool past() const { return version->segment.has_past_behavior(); }
    bool has_after() const {
      return live().exit().has_after() || (live().has_date_time() && !live().has_exit());
    }
    Time after(Time time) const {
      return time + (live().exit().has_after() ? Length(live().exit().after()) : kStay);
    }
    bool waits_for_absence(const Instance& instance) const {
      return live().sequence().steps(instance.step).has_did_not();
    }
    Time due(const Instance& instance) const {
      return instance.at + Length(live().sequence().steps(instance.step).within());
    }
    Time next_due() const;
  };

  void add_parts();
  void match_events();
  bool comes_again_before_the_turn(const Part& part, const pb::Did& did, const Entry& entry) const;
  bool exists() const;
  Part* in_force(const Part& from, const std::string& id);
  Situation situation(const Part& part);
  bool filter_holds(const Part& part);

  Time next_moment() const;
  // One step: of the deadlines of a moment, or of an entry.
  void step(Time now, const Entry* entry);
  void enter(const Entry& entry);
  // Evaluates the part in this step, after those that it refers to.
  void settle(Part* part);

  void evaluate(Part* part);
  void fire(Part* part);
  void apply(Part* part, const Record& record);
  void apply_inaction(Part* part, const Record& record, bool leaves_on);
  bool advances_sequence(Part* part, const Record& record);
  bool reaches_date(Part* part);
  bool counts_page(Part* part, const Record& record);
  void arrive(Part* part, const Instance& instance);

  void tell(Part* part, Action action, Reason reason, const std::string& event, Time event_at,
            const std::string& id);
  void qualify(Part* part, Reason reason, const std::string& event, Time event_at,
               const std::string& id, bool repeat);
  void leave(Part* part);

  const Oracle& oracle_;
  const User& user_;
  std::vector<Part> parts_;
  // The user's events that meet the condition of a `did`, as indexes of their entries.
  std::map<const pb::Did*, std::vector<size_t>> matches_;
  // Since when the user exists, and whether an event that came too late says so.
  Time existence_ = Time::Max();
  const Entry* first_too_late_ = nullptr;
  // Moments at which past behaviour may change; too many do no harm.
  std::set<Time> moments_;

  // The present step.
  int number_ = 0;
  Time now_ = Time::Min();
  const Entry* entry_ = nullptr;
  // So many entries have been applied.
  size_t applied_ = 0;
  Properties profile_;
  Prospect out_;
};

Time Oracle::Walk::Part::next_due() const {
  Time due = exit_at;
  for (const Pending& pending : pendings) due = std::min(due, pending.due);
  for (const Date& next : coming) due = std::min(due, next.at);
  for (const Instance& instance : instances) {
    if (waits_for_absence(instance)) due = std::min(due, this->due(instance));
  }
  return due;
}

Oracle::Walk::Walk(const Oracle& oracle, const User& user) : oracle_(oracle), user_(user) {
  const Entry* first = nullptr;
  for (const Entry& entry : user.entries) {
    if (entry.mark.has_value()) continue;
    if (first == nullptr ||
        std::pair(entry.record.time, entry.offset) < std::pair(first->record.time, first->offset)) {
      first = &entry;
    }
  }
  if (first != nullptr) existence_ = first->record.time;
  if (first != nullptr && first->too_late) first_too_late_ = first;
  add_parts();
  match_events();
  if (first_too_late_ != nullptr) moments_.insert(existence_);
}

// The present definitions, and whatever may have been referred to by them.
void Oracle::Walk::add_parts() {
  std::set<Number> numbers;
  std::set<std::string> ids;
  for (const auto& [slot, number] : oracle_.current_) numbers.insert(number);
  for (bool more = true; more;) {
    for (const Number number : numbers) {
      ids.merge(References(ExpressionOf(oracle_.versions_[number].segment)));
    }
    more = false;
    for (Number number = 0; number < oracle_.versions_.size(); ++number) {
      if (!ids.contains(oracle_.versions_[number].segment.id())) continue;
      more = numbers.insert(number).second || more;
    }
  }
  for (const Number number : numbers) {
    Part& part = parts_.emplace_back();
    part.number = number;
    part.version = &oracle_.versions_[number];
    part.start = user_.starts.at(number);
    const auto current = oracle_.current_.find(part.version->slot);
    part.current = current != oracle_.current_.end() && current->second == number;
    if (part.version->deleted) {
      part.out.member = user_.leaving.contains(number);
      continue;
    }
    part.out.member = part.start.member;
    part.out.joined_by = part.start.joined_by;
    part.out.since = part.start.since;
    part.counts = part.start.turned.has_value() && !part.start.turned_existing;
    part.begun = part.counts && !part.start.base.has_value();
    if (const auto& settled = part.start.settled; settled.has_value()) {
      part.out = settled->outlook;
      static_cast<Life&>(part) = settled->outlook.life;
      // All commands are gone through again.
      part.date = Datum();
      part.coming.clear();
      continue;
    }
    if (!part.start.member) continue;
    part.qualified = part.start.activated;
    if (part.has_after()) part.exit_at = part.after(part.qualified);
  }
}

// The stream has counted a second record of the event before the history was added.
bool Oracle::Walk::comes_again_before_the_turn(const Part& part, const pb::Did& did,
                                               const Entry& entry) const {
  const std::optional<Mark>& turned = part.start.turned;
  if (!turned.has_value() || entry.offset >= part.version->offset) return false;
  if (entry.record.message_id.empty()) return false;
  return std::any_of(user_.entries.begin(), user_.entries.end(), [&](const Entry& other) {
    const Time time = other.record.record_time;
    const Time before = entry.record.record_time;
    return !other.mark.has_value() && other.offset >= part.version->offset &&
           other.offset < turned->offset && Meets(other.record, did) &&
           other.record.message_id == entry.record.message_id && time != before &&
           std::max(time, before) - std::min(time, before) <= oracle_.settings_.max_lateness;
  });
}

void Oracle::Walk::match_events() {
  std::vector<size_t> arrived(user_.entries.size());
  for (size_t i = 0; i < arrived.size(); ++i) arrived[i] = i;
  std::sort(arrived.begin(), arrived.end(),
            [&](size_t a, size_t b) { return user_.entries[a].offset < user_.entries[b].offset; });
  for (const Part& part : parts_) {
    for (const pb::Did* did : Dids(ExpressionOf(part.version->segment))) {
      std::vector<size_t>& matches = matches_[did];
      for (const size_t i : arrived) {
        const Entry& entry = user_.entries[i];
        if (entry.mark.has_value() || !Meets(entry.record, *did)) continue;
        // A duplicate of an event that no definition counted then.
        const bool again = std::any_of(matches.begin(), matches.end(), [&](size_t before) {
          const Record& record = user_.entries[before].record;
          return !record.message_id.empty() && record.message_id == entry.record.message_id &&
                 entry.record.record_time - record.record_time <= oracle_.settings_.max_lateness;
        });
        if (!again && !comes_again_before_the_turn(part, *did, entry)) matches.push_back(i);
      }
      if (part.past()) moments_.merge(Moments(*did));
    }
  }
}

bool Oracle::Walk::exists() const {
  const bool by_event =
      std::any_of(user_.entries.begin(), user_.entries.begin() + static_cast<ptrdiff_t>(applied_),
                  [](const Entry& entry) { return !entry.mark.has_value(); });
  return by_event || (first_too_late_ != nullptr && now_ >= existence_);
}

// The version of the segment that `from` refers to in this step.
Oracle::Walk::Part* Oracle::Walk::in_force(const Part& from, const std::string& id) {
  Part* found = nullptr;
  for (Part& part : parts_) {
    if (part.version->segment.id() != id) continue;
    Offset since = from.version->offset;
    if (from.start.settled.has_value()) since = std::max(since, from.start.settled->before);
    if (from.begun) since = std::max(since, from.start.base.value_or(Mark()).offset);
    if (part.version->offset <= since || !part.start.existed ||
        (entry_ != nullptr && entry_->offset >= part.version->offset) ||
        now_ > part.start.activated) {
      found = &part;
    }
  }
  return found;
}

Situation Oracle::Walk::situation(const Part& part) {
  Situation situation;
  situation.now = now_;
  situation.profile = &profile_.values;
  situation.events = [this](const pb::Did& did) {
    std::vector<const Record*> records;
    for (const size_t i : matches_.at(&did)) {
      if (i < applied_) records.push_back(&user_.entries[i].record);
    }
    return records;
  };
  situation.in_segment = [this, &part](const std::string& id) {
    Part* other = in_force(part, id);
    if (other == nullptr) return false;
    settle(other);
    if (now_ < user_.settled_at && !other->version->deleted) {
      const auto stood = user_.stood.find(other->number);
      if (stood != user_.stood.end()) return stood->second;
    }
    if (!other->past() || !other->counts) return other->out.member;
    return exists() && Holds(other->version->segment.past_behavior(), this->situation(*other));
  };
  return situation;
}

bool Oracle::Walk::filter_holds(const Part& part) {
  return !part.live().has_filter() || Holds(part.live().filter(), situation(part));
}

// -- Steps ----------------------------------------------------------------------------------------

Oracle::Prospect Oracle::Walk::run(Time upto) {
  for (const Entry& entry : user_.entries) {
    if (entry.place > upto) break;
    while (next_moment() <= entry.place) step(next_moment(), nullptr);
    step(entry.place, &entry);
  }
  while (next_moment() <= upto && next_moment() != Time::Max()) step(next_moment(), nullptr);
  for (const Part& part : parts_) {
    if (!part.current) continue;
    out_.of[part.number] = part.out;
    out_.of[part.number].life = static_cast<const Life&>(part);
    if (part.start.waits) continue;
    // Whether anything comes of a date or of a sequence is seen when it does.
    Time due = part.exit_at;
    for (const Pending& pending : part.pendings) due = std::min(due, pending.due);
    out_.next_deadline = std::min(out_.next_deadline, due);
  }
  return std::move(out_);
}

Time Oracle::Walk::next_moment() const {
  Time next = Time::Max();
  for (const Part& part : parts_) next = std::min(next, part.next_due());
  const auto moment = moments_.upper_bound(now_);
  return moment == moments_.end() ? next : std::min(next, *moment);
}

void Oracle::Walk::step(Time now, const Entry* entry) {
  ++number_;
  now_ = now;
  entry_ = entry;
  if (entry != nullptr) enter(*entry);
  if (entry == nullptr || entry->too_late) out_.passed = now;
  for (Part& part : parts_) settle(&part);
}

void Oracle::Walk::enter(const Entry& entry) {
  ++applied_;
  if (entry.mark.has_value()) return;
  for (const Command& command : entry.record.profile) {
    profile_.apply(command, {entry.record.time, entry.offset});
  }
  for (const Part& part : parts_) {
    if (!part.past()) continue;
    for (const pb::Did* did : Dids(part.version->segment.past_behavior())) {
      if (Meets(entry.record, *did)) moments_.merge(Moments(*did, entry.record.time));
    }
    for (const pb::PropertyCondition* test : Tests(part.version->segment.past_behavior())) {
      moments_.merge(Moments(*test, Get(profile_.values, test->property())));
    }
  }
}

void Oracle::Walk::settle(Part* part) {
  if (part->settled == number_) return;
  part->settled = number_;
  if (part->version->deleted) {
    if (entry_ != nullptr && entry_->left == part->number) part->out.member = false;
    return;
  }
  const size_t before = part->out.changes.size();
  if (part->past()) {
    evaluate(part);
  } else if (entry_ == nullptr) {
    fire(part);
  } else if (!entry_->mark.has_value()) {
    apply(part, entry_->record);
  }
  for (size_t i = before; entry_ != nullptr && i < part->out.changes.size(); ++i) {
    part->out.changes[i].offset = entry_->offset;
    part->out.changes[i].cause_or_none = entry_->too_late;
  }
  const bool by_too_late = entry_ != nullptr && entry_->too_late;
  if (by_too_late && part->current && part->out.changes.size() > before) {
    out_.counted = std::max(out_.counted, now_);
  }
}

void Oracle::Walk::tell(Part* part, Action action, Reason reason, const std::string& event,
                        Time event_at, const std::string& id) {
  if (action != pb::QUALIFIED) {
    part->out.member = action == pb::ADD;
    part->out.since = now_;
    part->changed = number_;
  }
  part->out.changes.push_back({action, part->version->slot, now_, reason, event, event_at, id});
}

// -- Past behaviour -------------------------------------------------------------------------------

void Oracle::Walk::evaluate(Part* part) {
  const bool own_turn = entry_ != nullptr && entry_->turn == part->number;
  const auto reached = [&](const std::optional<Mark>& mark) {
    if (entry_ == nullptr || !mark.has_value()) return false;
    return entry_->mark.has_value() ? entry_->mark->count >= mark->count
                                    : entry_->offset > mark->offset;
  };
  part->counts = part->counts || reached(part->start.turned);
  if (!part->begun && reached(part->start.base)) {
    part->begun = true;
    part->out.member = part->start.base_member;
    part->out.since = part->start.base_since;
  }
  if (!part->begun || !exists()) return;
  const pb::Expression& expression = part->version->segment.past_behavior();
  bool inner_changed = false;
  for (const std::string& id : References(expression)) {
    Part* inner = in_force(*part, id);
    if (inner == nullptr) continue;
    settle(inner);
    inner_changed = inner_changed || inner->changed == number_;
  }
  const bool holds = Holds(expression, situation(*part));
  if (holds == part->out.member) return;

  const Action action = holds ? pb::ADD : pb::REMOVE;
  const Reason by_condition = holds ? pb::CONDITION_MET : pb::CONDITION_LOST;
  if (part->current && entry_ == nullptr) {
    out_.decided = std::max(out_.decided, now_);
  }
  if (own_turn) {
    const Reason reason = part->version->edited ? pb::DEFINITION_CHANGED : pb::BACKFILLED;
    return tell(part, action, reason, "", Time(), "");
  }
  if (entry_ == nullptr) {
    if (first_too_late_ == nullptr || now_ != existence_) {
      return tell(part, action, pb::WINDOW_SLID, "", Time(), "");
    }
    const Record& first = first_too_late_->record;
    tell(part, action, by_condition, first.name, first.time, first.message_id);
    part->out.changes.back().offset = first_too_late_->offset;
    return;
  }
  if (entry_->mark.has_value()) return tell(part, action, by_condition, "", Time(), "");
  const Record& record = entry_->record;
  const auto dids = Dids(expression);
  const bool counted = std::any_of(dids.begin(), dids.end(),
                                   [&](const pb::Did* did) { return Meets(record, *did); });
  const bool by_profile = !counted && !inner_changed && !record.profile.empty();
  tell(part, action, by_profile ? pb::PROFILE_CHANGED : by_condition, record.name, record.time,
       record.message_id);
}

// -- Live segments --------------------------------------------------------------------------------

void Oracle::Walk::leave(Part* part) {
  part->out.member = false;
  part->out.joined_by = Datum();
  part->qualified = Time::Min();
  part->exit_at = Time::Max();
}

void Oracle::Walk::qualify(Part* part, Reason reason, const std::string& event, Time event_at,
                           const std::string& id, bool repeat) {
  part->cause = event;
  part->cause_at = event_at;
  part->qualified = std::max(part->qualified, now_);
  if (part->has_after()) part->exit_at = part->after(part->qualified);
  if (!part->out.member) {
    tell(part, pb::ADD, reason, event, event_at, id);
  } else if (repeat) {
    tell(part, pb::QUALIFIED, reason, event, event_at, id);
  }
}

// All deadlines of one moment are one step, judged on the state just before it.
void Oracle::Walk::fire(Part* part) {
  const bool was_member = part->out.member;
  bool decided = part->exit_at == now_;

  std::optional<Date> date;
  for (const Date& coming : part->coming) {
    if (coming.at == now_) date = coming;
  }
  std::erase_if(part->coming, [&](const Date& coming) { return coming.at == now_; });

  std::optional<Instance> finished;
  for (const Instance& instance : std::vector(part->instances)) {
    if (!part->waits_for_absence(instance) || part->due(instance) != now_) continue;
    std::erase(part->instances, instance);
    Instance next = instance;
    ++next.step;
    next.at = now_;
    if (next.step == part->live().sequence().steps_size()) {
      finished = next;
    } else {
      arrive(part, next);
    }
  }

  const bool qualifies = (date.has_value() || finished.has_value()) && filter_holds(*part);
  if (part->exit_at == now_ && !qualifies) {
    tell(part, pb::REMOVE, pb::EXPIRED, part->cause, part->cause_at, "");
    leave(part);
  }
  if (qualifies && date.has_value()) {
    qualify(part, pb::DATE_TIME, "", Time(), "", false);
  } else if (qualifies) {
    qualify(part, pb::INACTION, finished->cause, finished->cause_at, "",
            part->live().sequence().repeat());
  }
  decided = decided || qualifies;

  std::optional<Pending> joins;
  for (const Pending& pending : part->pendings) {
    if (pending.due == now_ && !joins.has_value()) joins = pending;
  }
  decided = decided || joins.has_value();
  std::erase_if(part->pendings, [&](const Pending& pending) { return pending.due == now_; });
  if (joins.has_value() && !was_member && filter_holds(*part)) {
    part->cause = part->live().inaction().trigger().event();
    part->cause_at = joins->at;
    part->out.joined_by = joins->value;
    if (part->has_after()) part->exit_at = part->after(now_);
    tell(part, pb::ADD, pb::INACTION, part->cause, part->cause_at, "");
  }
  if (decided && part->current && !part->start.waits) out_.decided = now_;
}

void Oracle::Walk::apply(Part* part, const Record& record) {
  const pb::Live& live = part->live();
  const bool dated = live.has_date_time() && reaches_date(part);
  const std::optional<Offset>& until = part->version->until;
  Offset since = part->version->offset;
  if (part->start.settled.has_value()) since = std::max(since, part->start.settled->before);
  const bool takes_part = !entry_->too_late && entry_->offset >= since &&
                          (!until.has_value() || entry_->offset < *until);
  if (!takes_part && !dated) return;
  const bool leaves_on = takes_part && part->out.member && MeetsAny(record, live.exit().on());
  if (live.has_inaction()) return apply_inaction(part, record, leaves_on);

  bool qualifies = dated;
  bool repeat = false;
  if (live.has_actions()) {
    qualifies = MeetsAny(record, live.actions().any_of());
    repeat = live.actions().repeat();
  } else if (live.has_sequence()) {
    qualifies = advances_sequence(part, record);
    repeat = live.sequence().repeat();
  } else if (record.name == kPageViewed && !live.has_date_time()) {
    qualifies = counts_page(part, record);
    repeat = live.page_visit().repeat() || live.referrer().repeat() || live.page_count().repeat();
  }
  // An event that both exits and qualifies leaves a member a member.
  qualifies = qualifies && filter_holds(*part);
  if (leaves_on && !qualifies) {
    tell(part, pb::REMOVE, pb::EXIT_EVENT, record.name, record.time, record.message_id);
    leave(part);
  }
  if (qualifies && dated) {
    qualify(part, pb::DATE_TIME, "", Time(), "", repeat);
  } else if (qualifies) {
    qualify(part, pb::TRIGGER, record.name, record.time, record.message_id, repeat);
  }
}

void Oracle::Walk::apply_inaction(Part* part, const Record& record, bool leaves_on) {
  const pb::Inaction& inaction = part->live().inaction();
  std::vector<Pending>& pendings = part->pendings;
  const bool match = !inaction.match().empty();
  const Datum value = match ? Get(record.properties, inaction.match()) : Datum();
  const bool takes_part = !match || !std::holds_alternative<std::monostate>(value);
  const bool cancels = takes_part && MeetsAny(record, inaction.does_not_do());
  // Taken over from a version that joined by no value.
  const bool joined_by_any = std::holds_alternative<std::monostate>(part->out.joined_by);
  if (leaves_on || (part->out.member && !part->live().has_exit() && cancels &&
                    (!match || joined_by_any || value == part->out.joined_by))) {
    tell(part, pb::REMOVE, pb::EXIT_EVENT, record.name, record.time, record.message_id);
    leave(part);
  }
  if (cancels) {
    std::erase_if(pendings, [&](const Pending& p) { return !match || p.value == value; });
  }
  if (takes_part && !part->out.member && Meets(record, inaction.trigger())) {
    const auto same = std::find_if(pendings.begin(), pendings.end(),
                                   [&](const Pending& p) { return p.value == value; });
    if (same != pendings.end() && !inaction.restart()) return;
    if (same != pendings.end()) pendings.erase(same);
    if (pendings.size() == 25) pendings.erase(pendings.begin());
    pendings.push_back({value, record.time, record.time + Length(inaction.within())});
  }
}

bool Oracle::Walk::counts_page(Part* part, const Record& record) {
  const pb::Live& live = part->live();
  std::vector<Page>& pages = part->pages;
  const Datum url = Get(record.properties, "url");
  const Datum referrer = Get(record.properties, "referrer");
  if (live.has_page_visit()) return IsTrueOf(live.page_visit().url(), url, record.time);
  if (live.has_referrer()) {
    const bool first = pages.empty() || record.time - pages.back().time >= Duration::Minutes(30);
    const bool external = !Host(referrer).empty() && Host(referrer) != Host(url);
    pages.push_back({record.time, url});
    return first && external && IsTrueOf(live.referrer().url(), referrer, record.time);
  }
  const auto& count = live.page_count();
  pages.push_back({record.time, url});
  std::vector<Page> counted;
  for (size_t i = pages.size(); i-- > 0;) {
    const bool in_session =
        i + 1 == pages.size() || pages[i + 1].time - pages[i].time < Duration::Minutes(30);
    const bool in_window =
        !count.within().empty() && record.time - Length(count.within()) < pages[i].time;
    if (count.within().empty() ? !in_session : !in_window) break;
    const bool again = std::any_of(counted.begin(), counted.end(),
                                   [&](const Page& page) { return page.url == pages[i].url; });
    const bool has_url = !std::holds_alternative<std::monostate>(pages[i].url);
    if (!count.distinct_urls() || (has_url && !again)) counted.push_back(pages[i]);
  }
  return static_cast<int64_t>(counted.size()) >= count.at_least();
}

// Takes in what the step's commands have made of the property; true when a moment that has just
// passed counts.
bool Oracle::Walk::reaches_date(Part* part) {
  const pb::DateTime& date_time = part->live().date_time();
  const Datum value = Get(profile_.values, date_time.property());
  if (value == part->date) return false;
  part->date = value;
  part->coming.clear();
  const Time known = std::max(now_, part->version->clock);
  const std::optional<Settled>& settled = part->start.settled;
  const bool over = settled.has_value() && entry_->offset < settled->before;
  bool reached = false;
  for (const Time at : Moments(date_time, value)) {
    if (at <= part->version->clock || at < known - kTooOld) continue;
    if (over && at <= settled->at) continue;
    if (at <= now_) {
      reached = true;
    } else {
      part->coming.push_back({at, entry_->record.name, entry_->record.time});
    }
  }
  return reached;
}

void Oracle::Walk::arrive(Part* part, const Instance& instance) {
  std::erase(part->instances, instance);
  part->instances.push_back(instance);
  const auto waits = [&](const Instance& i) { return part->waits_for_absence(i); };
  if (std::count_if(part->instances.begin(), part->instances.end(), waits) <= kMostWaiting) return;
  part->instances.erase(std::find_if(part->instances.begin(), part->instances.end(), waits));
}

bool Oracle::Walk::advances_sequence(Part* part, const Record& record) {
  const auto& steps = part->live().sequence().steps();
  std::erase_if(part->instances, [&](const Instance& instance) {
    return part->waits_for_absence(instance) && Meets(record, steps[instance.step].did_not());
  });
  bool finished = false;
  for (const Instance& instance : std::vector(part->instances)) {
    if (part->waits_for_absence(instance) || !Meets(record, steps[instance.step])) continue;
    std::erase(part->instances, instance);
    if (!steps[instance.step].within().empty() && record.time >= part->due(instance)) continue;
    if (instance.step + 1 == steps.size()) {
      finished = true;
    } else {
      arrive(part, {instance.step + 1, record.time, record.name, record.time});
    }
  }
  if (Meets(record, steps[0])) arrive(part, {1, record.time, record.name, record.time});
  return finished;
}

// -- What is told ---------------------------------------------------------------------------------

Oracle::Oracle(const Settings& settings, int users)
    : settings_(settings), users_(static_cast<size_t>(users)) {}

const Oracle::Prospect& Oracle::look(const User& user, Time upto) const {
  const auto looked = user.looked.find(upto);
  if (looked != user.looked.end()) return looked->second;
  return user.looked[upto] = Walk(*this, user).run(upto);
}

const Oracle::Outlook& Oracle::outlook(int index, Slot slot) const {
  const User& user = users_[static_cast<size_t>(index)];
  return look(user, user.now).of.at(current_.at(slot));
}

void Oracle::insert(User* user, const Entry& entry) {
  user->entries.push_back(entry);
  std::stable_sort(user->entries.begin(), user->entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.place, a.offset) < std::pair(b.place, b.offset);
  });
  user->looked.clear();
}

void Oracle::define(Slot slot, const pb::Segment& segment, Offset offset, Time clock) {
  const Number number = versions_.size();
  const bool edited = current_.contains(slot);
  const bool knew = !edited || versions_[current_.at(slot)].knows_since;
  for (User& user : users_) {
    Start start;
    start.activated = std::max(clock, user.newest.value_or(clock));
    start.existed = user.newest.has_value();
    start.waits = segment.live().has_date_time() ||
                  (segment.has_live() && !Dids(segment.live().filter()).empty());
    if (edited) {
      const Outlook& before = look(user, user.now).of.at(current_.at(slot));
      start.member = before.member;
      start.joined_by = before.joined_by;
      start.since = before.since;
    }
    user.starts[number] = start;
    user.told[number] = {};
    user.member[slot] = start.member;
  }
  if (edited) versions_[current_.at(slot)].until = offset;
  versions_.push_back(
      {slot, segment, offset, std::nullopt, clock, edited, knew && !EverQualified(segment)});
  current_[slot] = number;
  const bool decides = decides_a_filter(slot);
  for (User& user : users_) {
    user.looked.clear();
    if (!segment.has_past_behavior() && !user.starts[number].waits) remember(&user, number);
    if (!user.newest.has_value()) continue;
    if (decides) settle(&user, offset, number);
    rebase(&user, mark(&user, offset, user.starts[number].activated));
  }
}

Oracle::Mark Oracle::mark(User* user, Offset offset, Time place, std::optional<Number> turn,
                          std::optional<Number> left) {
  Entry entry;
  entry.offset = offset;
  entry.place = place;
  entry.mark = Mark{offset, ++user->marks};
  entry.turn = turn;
  entry.left = left;
  insert(user, entry);
  return *entry.mark;
}

void Oracle::rebase(User* user, Mark mark) {
  const Prospect now = look(*user, user->now);
  for (const auto& [slot, number] : current_) {
    Start& start = user->starts.at(number);
    if (!start.turned.has_value()) continue;
    start.base = mark;
    start.base_member = now.of.at(number).member;
    start.base_since = now.of.at(number).since;
    user->told[number].clear();
  }
  user->known_from = user->now;
  user->looked.clear();
}

bool Oracle::has_past() const {
  return std::any_of(current_.begin(), current_.end(), [&](const auto& current) {
    const pb::Segment& segment = versions_[current.second].segment;
    return segment.has_past_behavior() || segment.live().has_date_time();
  });
}

bool Oracle::is_referred_to(const std::string& id) const {
  return std::any_of(current_.begin(), current_.end(), [&](const auto& current) {
    return References(ExpressionOf(versions_[current.second].segment)).contains(id);
  });
}

bool Oracle::decides_a_filter(Slot slot) const {
  const pb::Segment& segment = versions_[current_.at(slot)].segment;
  const bool has_one = segment.has_live() && !References(ExpressionOf(segment)).empty();
  return has_one || decides_a_filter(segment.id());
}

bool Oracle::decides_a_filter(const std::string& id) const {
  std::set<std::string> ids;
  for (const auto& [slot, number] : current_) {
    const pb::Segment& segment = versions_[number].segment;
    if (segment.has_live()) ids.merge(References(ExpressionOf(segment)));
  }
  for (size_t before = ids.size() + 1; before != ids.size();) {
    before = ids.size();
    for (const auto& [other, number] : current_) {
      const pb::Segment& segment = versions_[number].segment;
      if (ids.contains(segment.id())) ids.merge(References(ExpressionOf(segment)));
    }
  }
  return ids.contains(id);
}

void Oracle::settle(User* user, Offset before, std::optional<Number> except) {
  const Prospect now = look(*user, user->now);
  user->settled_at = user->now;
  // What is older is late.
  user->decided = std::max(user->decided, user->now);
  user->stood.clear();
  for (const auto& [slot, number] : current_) {
    const pb::Segment& segment = versions_[number].segment;
    if (segment.has_past_behavior() && decides_a_filter(slot)) {
      user->stood[number] = now.of.at(number).member;
    }
    const auto outlook = now.of.find(number);
    if (!segment.has_live() || References(ExpressionOf(segment)).empty()) continue;
    if (outlook == now.of.end() || number == except) continue;
    Settled settled{before, user->now, outlook->second};
    settled.outlook.changes.clear();
    user->starts.at(number).settled = settled;
    user->told[number].clear();
  }
  user->looked.clear();
}

void Oracle::remember(User* user, Number number) {
  const auto dids = Dids(ExpressionOf(versions_[number].segment));
  for (const Entry& entry : user->entries) {
    if (entry.mark.has_value()) continue;
    if (std::any_of(dids.begin(), dids.end(),
                    [&](const pb::Did* did) { return Meets(entry.record, *did); })) {
      user->seen[entry.record.message_id].push_back(entry.record.record_time);
    }
  }
}

std::vector<Told> Oracle::take_turn(int index, Slot slot, Offset offset, Time clock) {
  User& user = users_[static_cast<size_t>(index)];
  const Number number = current_.at(slot);
  Start& start = user.starts.at(number);
  const Time now = std::max(clock, user.newest.value_or(clock));
  // What is older is late.
  if (user.newest.has_value()) user.decided = std::max(user.decided, now);
  // A date may lie between the clock and the user's now.
  std::vector<Told> told = advance(index, now);
  const bool decides = user.newest.has_value() && decides_a_filter(slot);
  if (!versions_[number].segment.has_past_behavior()) {
    start.waits = false;
    user.looked.clear();
    tell(&user, &told);
    remember(&user, number);
    if (decides) settle(&user, offset, std::nullopt);
    return told;
  }
  start.turned_existing = user.newest.has_value();
  if (!start.turned_existing) {
    start.turned = Mark{offset, ++user.marks};
    user.looked.clear();
    return told;
  }
  start.turned = start.base = mark(&user, offset, now, number);
  start.base_member = start.member;
  start.base_since = start.since;
  tell(&user, &told);
  remember(&user, number);
  rebase(&user, *start.turned);
  if (decides) settle(&user, offset, std::nullopt);
  return told;
}

void Oracle::erase(Slot slot, Offset offset) {
  if (!current_.contains(slot)) return;
  const Number number = current_.at(slot);
  const std::string& id = versions_[number].segment.id();
  // What others have made of the segment so far stands: what it was is not kept.
  for (User& user : users_) {
    if (look(user, user.now).of.at(number).member) user.leaving.insert(number);
    if (!user.newest.has_value() || !is_referred_to(id)) continue;
    if (decides_a_filter(id)) settle(&user, offset, std::nullopt);
    rebase(&user, mark(&user, offset, user.now));
  }
  versions_[number].until = offset;
  versions_[number].deleted = true;
  deleted_[slot] = number;
  current_.erase(slot);
  for (User& user : users_) {
    user.member.erase(slot);
    user.looked.clear();
  }
}

std::vector<Told> Oracle::leave(int index, Slot slot, Offset offset, Time clock) {
  User& user = users_[static_cast<size_t>(index)];
  const Number number = deleted_.at(slot);
  if (!user.leaving.contains(number)) return {};
  const std::string& id = versions_[number].segment.id();
  const Time now = std::max(clock, user.newest.value_or(clock));
  const Told removal{pb::REMOVE, slot, now, pb::SEGMENT_DELETED, "", Time(), ""};
  if (!is_referred_to(id)) {
    user.leaving.erase(number);
    return {removal};
  }
  std::vector<Told> told = advance(index, now);
  told.push_back(removal);
  // What is older is late.
  user.decided = std::max(user.decided, now);
  const Mark turn = mark(&user, offset, now, std::nullopt, number);
  tell(&user, &told);
  rebase(&user, turn);
  if (decides_a_filter(id)) settle(&user, offset, std::nullopt);
  // What others have made of the membership stands: from here on nobody was in, at any time.
  user.leaving.erase(number);
  user.looked.clear();
  return told;
}

Time Oracle::since(int index, Slot slot) const {
  return outlook(index, slot).since.value_or(Time::Min());
}

bool Oracle::knows_since(int index, Slot slot) const {
  const Version& version = versions_[current_.at(slot)];
  if (users_[static_cast<size_t>(index)].starts.at(current_.at(slot)).waits) return false;
  if (!version.segment.has_past_behavior()) return version.knows_since;
  return since(index, slot) > users_[static_cast<size_t>(index)].known_from;
}

std::vector<Slot> Oracle::slots() const {
  std::vector<Slot> slots;
  for (const auto& [slot, number] : current_) slots.push_back(slot);
  return slots;
}

Time Oracle::next_deadline(int index) const {
  const User& user = users_[static_cast<size_t>(index)];
  Time next = look(user, user.now).next_deadline;
  for (const auto& [number, outlook] : look(user, Time::Max()).of) {
    for (const Told& change : outlook.changes) {
      if (change.at > user.now) next = std::min(next, change.at);
    }
  }
  return next;
}

bool Oracle::member(int index, Slot slot) const {
  const Start& start = users_[static_cast<size_t>(index)].starts.at(current_.at(slot));
  if (start.waits) return start.member;
  return outlook(index, slot).member;
}

std::vector<Told> Oracle::changes(int index, Slot slot) const {
  return outlook(index, slot).changes;
}

void Oracle::tell(User* user, std::vector<Told>* out) {
  const Prospect& prospect = look(*user, user->now);
  user->decided = std::max(user->decided, prospect.decided);
  user->counted = std::max(user->counted, prospect.counted);
  user->passed = std::max(user->passed, prospect.passed);
  for (const auto& [slot, number] : current_) {
    if (user->starts.at(number).waits) continue;
    const Outlook& outlook = prospect.of.at(number);
    std::vector<Told>& told = user->told[number];
    // What has been told stands, or this is no telling but a correction.
    if (told.size() > outlook.changes.size()) takes_back_ = true;
    for (size_t i = told.size(); i < outlook.changes.size(); ++i) {
      out->push_back(outlook.changes[i]);
    }
    told = outlook.changes;
    user->member[slot] = outlook.member;
  }
  std::stable_sort(out->begin(), out->end(),
                   [](const Told& a, const Told& b) { return a.at < b.at; });
}

void Oracle::correct(User* user, const Entry& event, std::vector<Told>* out) {
  const Prospect& prospect = look(*user, user->now);
  user->decided = std::max(user->decided, prospect.decided);
  user->counted = std::max(user->counted, prospect.counted);
  user->passed = std::max(user->passed, prospect.passed);
  for (const auto& [slot, number] : current_) {
    if (!user->starts.at(number).waits) correct(user, event, slot, number, out);
  }
}

void Oracle::correct(User* user, const Entry& event, Slot slot, Number number,
                     std::vector<Told>* out) {
  const Outlook& outlook = look(*user, user->now).of.at(number);
  for (const Told& change : outlook.changes) {
    if (change.offset == event.offset && change.action == pb::QUALIFIED && outlook.member &&
        user->member[slot]) {
      out->push_back(change);
      out->back().reason = pb::LATE_EVENT;
    }
  }
  if (outlook.member != user->member[slot]) {
    Told correction{outlook.member ? pb::ADD : pb::REMOVE,
                    slot,
                    outlook.since.value_or(event.record.time),
                    pb::LATE_EVENT,
                    event.record.name,
                    event.record.time,
                    event.record.message_id,
                    event.offset};
    correction.at_any_time = versions_[number].segment.has_past_behavior() &&
                             outlook.since.value_or(Time::Min()) <= user->known_from &&
                             user->known_from != Time::Min();
    out->push_back(correction);
  }
  user->told[number] = outlook.changes;
  user->member[slot] = outlook.member;
}

std::vector<Told> Oracle::advance(int index, Time clock) {
  User& user = users_[static_cast<size_t>(index)];
  user.now = std::max(user.now, clock);
  std::vector<Told> out;
  tell(&user, &out);
  return out;
}

bool Oracle::meets_any_condition(const Record& record, bool too_late) const {
  for (const auto& [slot, number] : current_) {
    const pb::Segment& segment = versions_[number].segment;
    for (const pb::Did* did : Dids(ExpressionOf(segment))) {
      if (Meets(record, *did)) return true;
    }
    if (too_late) continue;
    const pb::Live& live = segment.live();
    if (MeetsAny(record, live.exit().on())) return true;
    if (MeetsAny(record, live.actions().any_of())) return true;
    if (MeetsAny(record, live.inaction().does_not_do())) return true;
    if (live.has_inaction() && Meets(record, live.inaction().trigger())) return true;
    for (const auto& step : live.sequence().steps()) {
      if (step.has_did_not() ? Meets(record, step.did_not()) : Meets(record, step)) return true;
    }
    if (record.name != kPageViewed) continue;
    if (live.has_referrer() || live.has_page_count()) return true;
    if (live.has_page_visit() &&
        IsTrueOf(live.page_visit().url(), Get(record.properties, "url"), record.time)) {
      return true;
    }
  }
  return false;
}

Record Oracle::with_common(const Record& given) const {
  Record record = given;
  std::map<std::string, Datum> said;
  for (const auto& [slot, number] : current_) {
    for (const pb::PropertyCondition* test : Tests(ExpressionOf(versions_[number].segment))) {
      if (test->property().rfind("context.", 0) != 0) continue;
      const Datum value = Get(record.properties, test->property());
      if (!std::holds_alternative<std::monostate>(value)) said[test->property()] = value;
    }
  }
  std::vector<Command> commands;
  commands.reserve(said.size());
  for (const auto& [property, value] : said) {
    commands.push_back({ProfileOperation::kSet, property, value});
  }
  record.profile.insert(record.profile.begin(), commands.begin(), commands.end());
  return record;
}

Oracle::Verdict Oracle::apply(const Record& given, Offset offset, Time clock,
                              std::optional<Outcome> seen) {
  const Record record = with_common(given);
  User& user = users_[static_cast<size_t>(record.user)];
  std::vector<Told> out =
      advance(record.user, std::max(clock, record.record_time - settings_.deadline_grace));

  for (const Time before : user.seen[record.message_id]) {
    const bool within = record.record_time - before <= settings_.max_lateness;
    if (!record.message_id.empty() && within) return {Outcome::kDuplicate, std::move(out)};
  }
  Entry entry;
  entry.record = record;
  entry.offset = offset;
  entry.place = record.time;
  const Time newest = user.newest.value_or(record.time);
  entry.too_late = record.record_time - record.time > settings_.max_lateness ||
                   newest - record.time > settings_.max_lateness;
  // Remembered is what had an effect: an event that came too late has none on triggers.
  if (!record.profile.empty() || meets_any_condition(record, entry.too_late)) {
    user.seen[record.message_id].push_back(record.record_time);
  }
  const bool first = !user.newest.has_value();
  if (entry.too_late) {
    entry.place = std::max(record.record_time, newest);
  }
  // Who exists since before all that was evaluated is no sooner known to have been in.
  const bool earlier =
      std::all_of(user.entries.begin(), user.entries.end(), [&](const Entry& other) {
        return other.mark.has_value() || record.time < other.record.time;
      });
  if (!first && earlier) user.known_from = std::max(user.known_from, user.now);
  const bool late = !entry.too_late &&
                    (record.time < newest || record.time < user.decided ||
                     (record.time < user.counted && has_past()) ||
                     (record.time < user.passed && seen.has_value() && *seen == Outcome::kLate));

  if (!late) {
    for (Told& told : advance(record.user, record.time)) out.push_back(std::move(told));
  }
  user.newest = std::max(newest, record.time);
  insert(&user, entry);
  if (late) {
    correct(&user, entry, &out);
    return {Outcome::kLate, std::move(out)};
  }
  if (!entry.too_late) {
    tell(&user, &out);
    return {Outcome::kApplied, std::move(out)};
  }
  // From when it counts may lie behind what was decided.
  Verdict verdict{Outcome::kTooLate, out};
  if (!first && entry.place < std::max(user.decided, user.counted)) {
    correct(&user, entry, &verdict.told);
    return verdict;
  }
  // What it changes begins when it begins to count, but for the time from which the user exists:
  // that is no news.
  if (!first) {
    const Prospect& prospect = look(user, user.now);
    for (auto& [number, told] : user.told) {
      const auto outlook = prospect.of.find(number);
      if (outlook == prospect.of.end() || user.starts.at(number).waits) continue;
      told.clear();
      for (const Told& change : outlook->second.changes) {
        const bool own = change.offset == entry.offset && change.at == entry.place;
        if (own || change.at > entry.place) break;
        told.push_back(change);
      }
    }
  }
  if (!first && entry.place < user.passed) {
    User copy = user;
    verdict.otherwise = out;
    correct(&copy, entry, &*verdict.otherwise);
  }
  tell(&user, &verdict.told);
  return verdict;
}

}  // namespace segmentd::property
