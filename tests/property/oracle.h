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
};

class Oracle {
 public:
  Oracle(const Settings& settings, int users);

  // From `offset` on `segment` is the slot's definition. All users have been advanced to `clock`.
  void define(Slot slot, const segments::v1::Segment& segment, Offset offset, Time clock);
  // From here on the slot's segment is being deleted: its members stay as they are until they
  // leave.
  void erase(Slot slot);
  std::optional<Told> leave(int user, Slot slot, Time clock);

  std::vector<Told> advance(int user, Time clock);
  struct Verdict {
    Outcome outcome;
    std::vector<Told> told;
  };
  Verdict apply(const Record& record, Offset offset, Time clock);

  bool member(int user, Slot slot) const;
  // F's changes of the slot's present version up to now.
  std::vector<Told> changes(int user, Slot slot) const;
  // The earliest deadline after now that would do something, in the light of what is known;
  // Time::Max() for none.
  Time next_deadline(int user) const;
  Time now(int user) const { return users_[static_cast<size_t>(user)].now; }
  // Since when a member is one. Of a segment on nothing but having ever qualified, it is only known
  // of whoever had no late event.
  Time since(int user, Slot slot) const;
  bool knows_since(Slot slot) const { return versions_.at(slot).knows_since; }
  // The slots in use.
  std::vector<Slot> slots() const;

 private:
  // A definition from its activation on, and where its users stood then.
  struct Version {
    segments::v1::Segment segment;
    Offset offset;
    bool knows_since = true;
  };
  struct Start {
    bool member = false;
    // The user's now at the activation.
    Time activated;
    // What an inaction with `match` was joined by.
    Datum joined_by;
    // Of the latest change of membership.
    std::optional<Time> since;
  };
  struct Entry {
    Record record;
    Offset offset;
    // Its place among the user's events: its time, or for one that came too late the moment from
    // which its profile commands count.
    Time place;
    bool too_late = false;
  };
  struct User {
    // Sorted by (place, offset).
    std::vector<Entry> entries;
    std::map<Slot, Start> starts;
    // By message ID, the record times at which it had an effect.
    std::map<std::string, std::vector<Time>> seen;
    std::optional<Time> newest;
    Time now = Time::Min();
    // The newest deadline that was decided, whatever became known later.
    Time decided = Time::Min();
    // What has been told of each slot's present version: so many of F's changes, and the
    // membership.
    std::map<Slot, size_t> told;
    std::map<Slot, bool> member;
    // Members of segments being deleted.
    std::set<Slot> leaving;
  };
  struct Outlook {
    std::vector<Told> changes;
    bool member = false;
    Datum joined_by;
    std::optional<Time> since;
    // The newest deadline up to now.
    Time decided = Time::Min();
    Time next_deadline = Time::Max();
  };

  Outlook look(const User& user, Slot slot, Time upto) const;
  // Tells all of F's changes up to now that have not been told.
  void tell(User* user, std::vector<Told>* out);
  // Tells where the present has turned out different.
  void correct(User* user, const Entry& event, std::vector<Told>* out);
  bool meets_any_condition(const Record& record) const;

  Settings settings_;
  std::map<Slot, Version> versions_;
  std::vector<User> users_;
};

}  // namespace segmentd::property
