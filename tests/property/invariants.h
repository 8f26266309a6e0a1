// The specification's invariants, each as a function that says what is wrong with a history.
#pragma once

#include <string>

#include "tests/property/history.h"
#include "tests/property/playback.h"

namespace segmentd::property {

// Runs all of a history, and says what is wrong with the order of the changes told.
std::string RunAll(const History& history, Playback* run);

// In order: F's changes with F's times, reasons and causes, and never a correction.
std::string InOrderWrong(const History& history);

// The order of arrival, within max_lateness, does not matter in the end.
std::string ShuffledWrong(const History& history);

// When the clock was told does not matter: recovery rests on this.
std::string ReplayWrong(const History& history);

// With tight bounds.
History Tight(History history);

// Bounds reached: what is remembered is less, but never out of order or without bound.
std::string FewFactsWrong(const History& history);

}  // namespace segmentd::property
