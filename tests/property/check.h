// Runs a property over many random histories.
#pragma once

#include <functional>
#include <string>

#include "tests/property/generate.h"
#include "tests/property/history.h"

namespace segmentd::property {

// `wrong` says what is wrong with a history, or nothing. A history it finds something wrong with is
// shrunk and reported, with its seed, as a failure of the running test.
//
// SEGMENTD_SEED: the first history's seed ("random" for a new one); SEGMENTD_CASES: how many
// histories instead of `cases`.
void Check(const Shape& shape, int cases, const std::function<std::string(const History&)>& wrong);

}  // namespace segmentd::property
