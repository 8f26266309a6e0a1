// F(S, u, t) of the specification, as naively as it can be written: from all of a user's events,
// from scratch, each time.
//
// It shares nothing with the engine but the events' and definitions' form. It must stay slow and
// obvious: whatever the engine keeps, folds or forgets, the oracle computes again.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "segment/engine.h"
#include "tests/property/history.h"

namespace segmentd::property {

// A change record that segmentd must write.
struct Told {
  Action action;
  Slot slot;
  Time at;
  Reason reason;
  // Empty: no cause.
  std::string cause_event;
  Time cause_at;
  std::string cause_message_id;
  // Of the event whose step it was; not told.
  std::optional<Offset> offset = std::nullopt;
  // F's latest transition lies before what is known of the definition: any time will do.
  bool at_any_time = false;
  // By a record that came too late: its name and ID may be forgotten when it begins to count.
  bool cause_or_none = false;
};

class Oracle {
 public:
  Oracle(const Settings& settings, int users);

  // From `offset` on `segment` is the slot's definition. All users have been advanced to `clock`.
  // One of past behaviour, on a date, or whose filter counts the past tells nothing to a user who
  // has not had their turn: memberships stay as they were.
  void define(Slot slot, const segments::v1::Segment& segment, Offset offset, Time clock);
  // The user has their turn with the slot's definition, which counts the past or a date: the
  // records before `offset` are all that there are.
  std::vector<Told> take_turn(int user, Slot slot, Offset offset, Time clock);
  // From here on the slot's segment is being deleted: its members stay as they are until they
  // leave, also for those that refer to it.
  void erase(Slot slot, Offset offset);
  // The user has their turn with the deletion. Whoever refers to the segment changes with it.
  std::vector<Told> leave(int user, Slot slot, Offset offset, Time clock);

  std::vector<Told> advance(int user, Time clock);
  struct Verdict {
    Outcome outcome;
    std::vector<Told> told;
    // As right as `told`.
    std::optional<std::vector<Told>> otherwise = std::nullopt;
  };
  // A moment at which nothing happens may be a deadline or none; whether an event before such a one
  // was late is then as in `seen`.
  Verdict apply(const Record& record, Offset offset, Time clock,
                std::optional<Outcome> seen = std::nullopt);

  bool member(int user, Slot slot) const;
  // F's changes of the slot's present version up to now.
  std::vector<Told> changes(int user, Slot slot) const;
  // The earliest deadline after now that would do something, in the light of what is known;
  // Time::Max() for none.
  Time next_deadline(int user) const;
  Time now(int user) const { return users_[static_cast<size_t>(user)].now; }
  // Since when a member is one. Of a segment on nothing but having ever qualified, it is only known
  // of whoever had no late event; of past behaviour, only of a change since the definition.
  Time since(int user, Slot slot) const;
  bool knows_since(int user, Slot slot) const;
  // The slots in use.
  std::vector<Slot> slots() const;
  // It has contradicted what it had said of records in order: the oracle is wrong.
  bool takes_back() const { return takes_back_; }

 private:
  // A definition from its activation on.
  struct Version {
    Slot slot;
    segments::v1::Segment segment;
    Offset offset;
    // When the next version follows, or the segment is deleted.
    std::optional<Offset> until;
    // The partition clock at the activation.
    Time clock;
    // Not the first of its segment.
    bool edited = false;
    bool knows_since = true;
    bool deleted = false;
  };
  // Index in versions_.
  using Number = size_t;
  // Something between two records: a definition or a deletion, or a user's turn with one.
  struct Mark {
    Offset offset;
    // The user's how-manieth, from 1.
    int count = 0;
  };
  // What a live segment remembers of a user.
  struct Pending {
    Datum value;
    Time at;
    Time due;
  };
  struct Page {
    Time time;
    Datum url;
  };
  struct Date {
    Time at;
    // The event that set it.
    std::string cause;
    Time cause_at;
  };
  // Of a sequence.
  struct Instance {
    // What it waits for, and since when.
    int step;
    Time at;
    // The last event step.
    std::string cause;
    Time cause_at;
    bool operator==(const Instance&) const = default;
  };
  struct Life {
    // A membership taken over counts as qualified at the activation.
    Time qualified = Time::Min();
    Time exit_at = Time::Max();
    // The event behind the membership.
    std::string cause;
    Time cause_at;
    // In the order of their triggers.
    std::vector<Pending> pendings;
    std::vector<Page> pages;
    std::vector<Instance> instances;
    // The property, and the moments still to come.
    Datum date;
    std::vector<Date> coming;
  };
  struct Outlook {
    std::vector<Told> changes;
    bool member = false;
    Datum joined_by;
    std::optional<Time> since;
    // Of a live segment.
    Life life;
  };
  // Where a live segment stood when the definition of one that it refers to changed: earlier
  // records mean nothing to it any more.
  struct Settled {
    Offset before;
    Time at;
    Outlook outlook;
  };
  // Where a user stood at the activation of a version.
  struct Start {
    bool member = false;
    // The user's now at the activation.
    Time activated;
    // The user existed already.
    bool existed = false;
    // Of past behaviour: when the user had their turn, and whether they existed then.
    std::optional<Mark> turned;
    bool turned_existing = false;
    // Where the user stood at the latest definition of any segment since. What changes is looked
    // for from there on only, in whatever comes after that offset.
    std::optional<Mark> base;
    bool base_member = false;
    std::optional<Time> base_since;
    // What an inaction with `match` was joined by.
    Datum joined_by;
    // Of the latest change of membership.
    std::optional<Time> since;
    std::optional<Settled> settled;
    // Of a live segment that is built user by user: the user's turn is still to come, and nothing
    // has been told.
    bool waits = false;
  };
  struct Entry {
    Record record;
    Offset offset;
    // Its place among the user's events: its time, or for one that came too late the moment from
    // which it counts for the past and the profile.
    Time place;
    bool too_late = false;
    // No record.
    std::optional<Mark> mark = std::nullopt;
    std::optional<Number> turn = std::nullopt;
    // The user's turn with the deletion of the version.
    std::optional<Number> left = std::nullopt;
  };
  struct Prospect {
    std::map<Number, Outlook> of;
    // The newest deadline up to now at which something happened; and at all.
    Time decided = Time::Min();
    Time passed = Time::Min();
    // The newest moment up to now from which something that came too late counted for a change:
    // decided, where there is past behaviour.
    Time counted = Time::Min();
    // Of the live segments.
    Time next_deadline = Time::Max();
  };
  struct User {
    // Sorted by (place, offset).
    std::vector<Entry> entries;
    int marks = 0;
    std::map<Number, Start> starts;
    // By message ID, the record times at which it had an effect.
    std::map<std::string, std::vector<Time>> seen;
    std::optional<Time> newest;
    Time now = Time::Min();
    // Whatever became known later.
    Time decided = Time::Min();
    Time passed = Time::Min();
    Time counted = Time::Min();
    // Before it, F of past behaviour is not known exactly.
    Time known_from = Time::Min();
    // What has been told of each version, and the membership.
    std::map<Number, std::vector<Told>> told;
    std::map<Slot, bool> member;
    // The segments being deleted that the user is in.
    std::set<Number> leaving;
    // When the live segments were last settled, and where the past behaviour that they depend on
    // stood then.
    Time settled_at = Time::Min();
    std::map<Number, bool> stood;
    // What was computed since the user last changed.
    mutable std::map<Time, Prospect> looked;
  };
  class Walk;

  const Prospect& look(const User& user, Time upto) const;
  const Outlook& outlook(int user, Slot slot) const;
  // Tells all of F's changes up to now that have not been told.
  void tell(User* user, std::vector<Told>* out);
  // Tells where the present has turned out different.
  void correct(User* user, const Entry& event, std::vector<Told>* out);
  void correct(User* user, const Entry& event, Slot slot, Number number, std::vector<Told>* out);
  void insert(User* user, const Entry& entry);
  Mark mark(User* user, Offset offset, Time place, std::optional<Number> turn = std::nullopt,
            std::optional<Number> left = std::nullopt);
  // The memberships of past behaviour are what they are now, whatever comes of what was before.
  void rebase(User* user, Mark mark);
  // Whether something of what is in use changes by the past, or at a date.
  bool has_past() const;
  bool is_referred_to(const std::string& id) const;
  // Whether a live segment's filter depends on the segment.
  bool decides_a_filter(const std::string& id) const;
  // The same of the slot's segment; or it is a live one with such a filter.
  bool decides_a_filter(Slot slot) const;
  // All live segments with memberships in their filters stand as they are.
  void settle(User* user, Offset before, std::optional<Number> except);
  // What the version counts of the user's records has had an effect.
  void remember(User* user, Number number);
  // What its context says of common properties that some definition reads, as commands.
  Record with_common(const Record& given) const;
  bool meets_any_condition(const Record& record, bool too_late) const;

  Settings settings_;
  std::vector<Version> versions_;
  // Of the slots in use.
  std::map<Slot, Number> current_;
  // By slot, the segment that was deleted there last.
  std::map<Slot, Number> deleted_;
  std::vector<User> users_;
  bool takes_back_ = false;
};

}  // namespace segmentd::property
