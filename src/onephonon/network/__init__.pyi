from .bodies import Bodies, gather_bodies
from .body_density import BodyDensity
from .contact_files import labelling, read_contact_table, start_values, write_contact_table
from .contacts import Contacts, find_contacts
from .density_of_bodies import cut_out_bodies
from .force_constants import ForceConstants
from .interface_stiffness import InterfaceStiffness
from .interfaces import ContactFeatures, ContactTable, Interfaces, find_interfaces
from .springs import SpringPlan

__all__ = [
    "Bodies",
    "BodyDensity",
    "ContactFeatures",
    "ContactTable",
    "Contacts",
    "ForceConstants",
    "InterfaceStiffness",
    "Interfaces",
    "SpringPlan",
    "cut_out_bodies",
    "find_contacts",
    "find_interfaces",
    "gather_bodies",
    "labelling",
    "read_contact_table",
    "start_values",
    "write_contact_table",
]
