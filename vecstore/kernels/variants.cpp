#include "variants.h"

#include <stdexcept>

namespace vecstore {

namespace portable { extern const Variant variant; }
#ifdef HAS_v3
namespace v3 { extern const Variant variant; }
#endif
#ifdef HAS_v4
namespace v4 { extern const Variant variant; }
#endif
#ifdef HAS_vbmi
namespace vbmi { extern const Variant variant; }
#endif

namespace {

std::vector<const Variant*> supported() {
    std::vector<const Variant*> found{&portable::variant};
#ifdef HAS_v3
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("f16c"))
        found.push_back(&v3::variant);
    if (found.size() == 2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        found.push_back(&v4::variant);
    if (found.size() == 3 && __builtin_cpu_supports("avx512vbmi")) found.push_back(&vbmi::variant);
#endif
    return found;
}

}  // namespace

const std::vector<const Variant*>& variants() {
    static const std::vector<const Variant*> found = supported();
    return found;
}

const Variant& variant_named(const std::optional<std::string>& name) {
    if (!name) return *variants().back();
    for (const Variant* variant : variants())
        if (*name == variant->name) return *variant;
    throw std::invalid_argument("expected one of variants(), got '" + *name + "'");
}

}  // namespace vecstore
