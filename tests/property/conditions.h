// What a record and a profile meet, and what a user did: for the oracle, as naively as it can be
// written.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "segment/profile.h"
#include "tests/property/history.h"

namespace segmentd::property {

// Of a definition that is known to be right.
Duration Length(const std::string& text);

bool IsTrueOf(const segments::v1::PropertyCondition& condition, const Datum& value, Time now);

Datum Get(const std::map<std::string, Datum>& properties, const std::string& name);

bool Meets(const Record& record, const segments::v1::EventCondition& condition);
// Whether it is such an event, whenever it was.
bool Meets(const Record& record, const segments::v1::Did& did);
// An event step of a sequence.
bool Meets(const Record& record, const segments::v1::SequenceStep& step);

template <typename Conditions>
bool MeetsAny(const Record& record, const Conditions& conditions) {
  for (const auto& condition : conditions) {
    if (Meets(record, condition)) return true;
  }
  return false;
}

// Without port, in lower case, without "www."; empty for none.
std::string Host(const Datum& url);

// A user's profile in the making.
struct Properties {
  struct Newest {
    EventOrder absolute;
    EventOrder any;
  };
  std::map<std::string, Datum> values;
  std::map<std::string, Newest> newest;

  void apply(const Command& command, EventOrder order);
};

// What an expression is asked of.
struct Situation {
  Time now;
  const std::map<std::string, Datum>* profile;
  // The user's events so far that meet the condition of a `did`.
  std::function<std::vector<const Record*>(const segments::v1::Did&)> events;
  std::function<bool(const std::string& id)> in_segment;
};
bool Holds(const segments::v1::Expression& expression, const Situation& situation);
bool Holds(const segments::v1::Did& did, const std::vector<const Record*>& events, Time now);

// All of an expression's parts of one kind, at any depth.
std::vector<const segments::v1::Did*> Dids(const segments::v1::Expression& expression);
std::vector<const segments::v1::PropertyCondition*> Tests(const segments::v1::Expression& e);
std::set<std::string> References(const segments::v1::Expression& expression);
// Of past behaviour the definition, otherwise the filter.
const segments::v1::Expression& ExpressionOf(const segments::v1::Segment& segment);

// Moments at which the range of a `did` may move over an event of time `at`, or begin or end.
std::set<Time> Moments(const segments::v1::Did& did, Time at);
std::set<Time> Moments(const segments::v1::Did& did);
// Moments at which a condition on a time in the profile may change.
std::set<Time> Moments(const segments::v1::PropertyCondition& condition, const Datum& value);
// The moments that a date, or a list of them, stands for; of recurring ones those of the coming
// years.
std::set<Time> Moments(const segments::v1::DateTime& date_time, const Datum& value);

}  // namespace segmentd::property
