#include "../../dmapi.h" /* the name that older sources use */
