// The parts of a definition in words, for whoever asks why a user is in a segment.
#pragma once

#include <string>
#include <string_view>

#include "proto/segments/v1/definition.pb.h"
#include "segment/value.h"

namespace segmentd {

// "amount greater_than 500", the words of the definition.
std::string WordsOf(const segments::v1::PropertyCondition& condition, std::string_view property);

// "Charged where amount greater_than 500 and currency equals "INR"".
std::string WordsOf(const segments::v1::EventCondition& condition);
// The event of a `did` in its range: "Charged where amount greater_than 500 in the last 30d".
std::string WordsOf(const segments::v1::Did& did);
// The event of a step, or of its absence.
std::string WordsOf(const segments::v1::SequenceStep& step);

// "at least 3 and less than 7".
std::string WordsOf(const segments::v1::NumberCondition& condition);
std::string WordsOf(const segments::v1::Aggregate& condition);

std::string WordsOf(const Value& value);
// Whole numbers without an exponent.
std::string WordsOf(double number);

}  // namespace segmentd
