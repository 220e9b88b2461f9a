#pragma once
#include <optional>
#include <string>
#include <vector>

#include "kernels.h"

namespace vecstore {

// The variants this machine can run, slowest first.
const std::vector<const Variant*>& variants();

// The variant of that name, or the fastest; throws std::invalid_argument where there is none.
const Variant& variant_named(const std::optional<std::string>& name);

}  // namespace vecstore
